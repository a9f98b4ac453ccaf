"""The protocol that every engine follows. It imports no framework, so that a step can name it for free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from msgspec import Struct

Device = Literal["cpu", "cuda"]
Arrays = Mapping[str, np.ndarray]

PAST_IDS = "past_ids"  # the feed with the tokens before a step, [batch, past]; graphs do not take it


class InputSpec(Struct, frozen=True):
    """An input of a graph: its dimensions (names where they vary) and its ONNX type."""

    shape: tuple[int | str, ...]
    type: str


class Graphs(Protocol):
    """What is known of a model from its graphs, which another engine or a sample needs."""

    @property
    def folder(self) -> Path:
        """The folder of the model."""

    @property
    def stages(self) -> tuple[str, ...]:
        """What the model can run."""

    @property
    def first(self) -> str:
        """The stage that reads the model's inputs."""

    def inputs(self, stage: str) -> Mapping[str, InputSpec]:
        """Inputs of a stage's graph, by name."""

    def outputs(self, stage: str) -> tuple[str, ...]:
        """Names of a stage's outputs."""


class Described(Struct, frozen=True):
    """The same as data, for a process that opens none of the graphs."""

    path: str
    stages: tuple[str, ...]
    first: str
    inputs_by_stage: Mapping[str, Mapping[str, InputSpec]]
    outputs_by_stage: Mapping[str, tuple[str, ...]]

    @property
    def folder(self) -> Path:
        """The folder of the model."""
        return Path(self.path)

    def inputs(self, stage: str) -> Mapping[str, InputSpec]:
        """Inputs of a stage's graph, by name."""
        return self.inputs_by_stage[stage]

    def outputs(self, stage: str) -> tuple[str, ...]:
        """Names of a stage's outputs."""
        return self.outputs_by_stage[stage]


def described(graphs: Graphs) -> Described:
    """Graphs as data."""
    return Described(
        str(graphs.folder),
        graphs.stages,
        graphs.first,
        {stage: graphs.inputs(stage) for stage in graphs.stages},
        {stage: graphs.outputs(stage) for stage in graphs.stages},
    )


class Engine(Protocol):
    """An engine runs a model stage by stage: ONNX Runtime, PyTorch, or one that is added later."""

    name: str
    load_seconds: float

    def prepare(self, stage: str, feeds: Arrays) -> Callable[[], Any]:
        """A call that runs the stage on these feeds and does nothing else."""

    def run(self, stage: str, feeds: Arrays) -> dict[str, np.ndarray]:
        """Outputs of a stage by name."""

    def renew(self) -> None:
        """Forget what earlier runs have changed."""

    def threads_used(self) -> int:
        """Threads that the engine computes with."""
