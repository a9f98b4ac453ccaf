"""The base of the engines that run what backends have compiled: stages as `compiled.json` names them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.backend_kind import Place
from onnxbuild.steps.compiling.compiled_record import RECORD, CompiledRecord, CompiledStage, loading_digest
from onnxbuild.workers.engines.compiled.fixed_shapes import FixedShapes, RanAs
from onnxbuild.workers.engines.compiled.stage_feeds import complete_feeds
from onnxbuild.workers.engines.engine import Arrays, Device, InputSpec

# Runs one file on exactly its inputs, and returns its outputs in their order.
Call = Callable[[Mapping[str, np.ndarray]], Sequence[Any]]


class Where(Struct, frozen=True, kw_only=True):
    """Where an engine computes, such as `device` and `CPU`, or `host double` and `Cloud AI 100`."""

    place: Place
    name: str


class CompiledModel:
    """The base of an engine: a subclass opens a file, and says where it computes.

    `stages`, `inputs`, `outputs` and `first` are those of `compiled.json`; `name` is that of the backend.
    """

    place: ClassVar[Place] = "device"
    uses_threads = True  # a device that does not is opened once for all numbers of threads

    def __init__(self, folder: Path, record: CompiledRecord, *, threads: int) -> None:
        """Open every file of the folder. Errors: CheckFailed OBE232 for a record that says something else by now.

        A subclass checks before what it needs of the record, and so names a property that is missing.
        """
        if record.loading and record.loading != loading_digest(record):
            message = f"`{RECORD}` is not what was written: its properties, settings or stages have changed"
            raise CheckFailed("OBE232", message, notes=[("hint", "compile it again")])
        self.folder, self.record, self.threads = folder, record, threads
        self.name = record.backend
        self.device: Device = "cpu"  # of the tensors that PyTorch is compared with
        start = time.perf_counter()
        stages = {one.file: one for one in record.stages.values()}
        self._calls = {file: self.open_file(folder / file, stage) for file, stage in stages.items()}
        self.load_seconds = time.perf_counter() - start
        self.stages = tuple(record.stages)
        self.first = next(
            (stage for stage in ("encoder", "prefill", "vision_encoder") if stage in self.stages), self.stages[0]
        )

    def open_file(self, path: Path, stage: CompiledStage) -> Call:
        """Load a file. The call may return views into memory that the next call overwrites: `run` copies them."""
        raise NotImplementedError

    @classmethod
    def place_here(cls, record: CompiledRecord) -> Place:  # noqa: ARG003  (of those that may run in two places)
        """Where this machine would run a variant."""
        return cls.place

    @property
    def where(self) -> Where:
        """Where it computes."""
        return Where(place=self.place_here(self.record), name=self.record.device)

    def inputs(self, stage: str) -> Mapping[str, InputSpec]:
        """Inputs of a stage, by name."""
        return {name: InputSpec(one.shape, one.type) for name, one in self.record.stages[stage].inputs.items()}

    def outputs(self, stage: str) -> tuple[str, ...]:
        """Names of a stage's outputs."""
        return tuple(self.record.stages[stage].outputs)

    def output_axes(self, stage: str) -> Mapping[str, int]:
        """The number of axes of each output of a stage, by name."""
        return {name: len(shape) for name, shape in self.record.stages[stage].outputs.items()}

    def fixed_shapes(self, stage: str) -> FixedShapes | None:  # noqa: ARG002 - a subclass may have one for each stage
        """The sizes to which the samples of a stage are filled up; None if it takes other sizes."""
        return None

    def ran_as(self, stage: str, feeds: Arrays) -> RanAs | None:
        """How a stage runs a sample of another shape than its own; None if it runs the sample as it is."""
        fixed = self.fixed_shapes(stage)
        return None if fixed is None else fixed.ran_as(self.record.stages[stage], feeds)

    def complete(self, stage: str, feeds: Arrays) -> dict[str, np.ndarray]:
        """Exactly what the stage takes, from feeds that may contain more or lack a past."""
        return complete_feeds(self.inputs(stage), feeds, branch=self.record.stages[stage].branch)

    def prepare(self, stage: str, feeds: Arrays) -> Callable[[], Any]:
        """A call that runs the stage on these feeds and does nothing else: what a benchmark times."""
        call, complete = self._calls[self.record.stages[stage].file], self.complete(stage, feeds)
        return lambda: call(complete)

    def run(self, stage: str, feeds: Arrays) -> dict[str, np.ndarray]:
        """Outputs of a stage by name, as arrays of their own."""
        values = zip(self.outputs(stage), self.prepare(stage, feeds)(), strict=True)
        named = {name: np.array(value) for name, value in values}
        return {name: value for name, value in named.items() if stage != "merged_step" or ".encoder." not in name}

    def renew(self) -> None:
        """Nothing is kept from one run to the next; an engine with a state of its own forgets it here."""

    def threads_used(self) -> int:
        """Threads that the engine computes with."""
        return self.threads

    def providers(self) -> dict[str, int]:
        """How many nodes each part of the runtime runs; none if it does not say."""
        return {}

    def operators(self) -> dict[str, dict[str, int]]:
        """The nodes that each part of the runtime runs, by their operator; none if it does not say."""
        return {}
