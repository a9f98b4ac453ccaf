"""A host double of a compiled program: the very graph in ONNX Runtime, under the contract that the card keeps.

It takes only the shapes that the program is compiled for, keeps the cache from one run to the next, and rounds the
cache to the precision of `custom_io.yaml`. It does not compute in fp16, and its speed says nothing about a card.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.backend_kind import HOST_DOUBLE
from onnxbuild.workers.compile.qaic.card_program import STATE, Specialization, read_custom_io, read_specializations
from onnxbuild.workers.compile.qaic.skipped_places import marks_padding_by_index, rewrite
from onnxbuild.workers.compile.qaic.state_rounding import ROUNDING
from onnxbuild.workers.engines.compiled.stage_feeds import NUMPY_TYPES
from onnxbuild.workers.engines.onnxruntime_engine import open_session


class HostDouble:
    """A session with `run(feeds)`, as a card has one: the cache is no part of the feeds, nor of the outputs."""

    device = HOST_DOUBLE

    def __init__(self, graph: Path, settings: Path, *, threads: int = 1) -> None:
        """Open a graph with the specializations and the custom IO of a folder."""
        self._spare = int(marks_padding_by_index(graph))  # slots of the cache that the card does not have
        self._session = _opened(graph, threads=threads, rewritten=bool(self._spare))
        self.specializations = read_specializations(settings)
        self._custom_io = read_custom_io(settings)
        specs = {spec.name: spec for spec in self._session.get_inputs()}
        self._states = {name: spec for name, spec in specs.items() if f"{name}{STATE}" in self._output_names()}
        self._inputs = {name: spec for name, spec in specs.items() if name not in self._states}
        self._check_custom_io()
        self._kept: dict[str, np.ndarray] = {}
        self.renew()

    @property
    def input_names(self) -> tuple[str, ...]:
        """What a run has to be given."""
        return tuple(self._inputs)

    def renew(self) -> None:
        """Fill the cache as it may be on a card: with values of somebody else's text, which nothing may read."""
        first = self.specializations[0]
        random = np.random.default_rng(0)
        self._kept = {
            name: random.standard_normal(self._with_spare(first.shape(tuple(spec.shape)))).astype(np.float32)
            for name, spec in self._states.items()
        }

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the program; the cache stays here. Errors: CheckFailed OBE241 for inputs it is not compiled for."""
        self._check_feeds(feeds)
        names = self._output_names()
        values = dict(zip(names, self._session.run(names, {**feeds, **self._kept}), strict=True))
        for name in self._states:
            self._kept[name] = self._rounded(name, values.pop(f"{name}{STATE}"))
        return values

    def _with_spare(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:2], shape[2] + self._spare, *shape[3:])

    def _rounded(self, name: str, value: np.ndarray) -> np.ndarray:
        precision = self._custom_io.get(name)
        return value if precision is None else ROUNDING[precision](value)

    def _output_names(self) -> list[str]:
        return [output.name for output in self._session.get_outputs()]

    def _check_custom_io(self) -> None:
        """A state has to go in and come out in one precision, or the card could not keep it."""
        known = {*self._states, *(f"{name}{STATE}" for name in self._states)}
        for name, precision in self._custom_io.items():
            if name not in known or precision not in ROUNDING:
                raise CheckFailed("OBE241", f"custom_io.yaml gives `{name}` the precision `{precision}`")
        for name in self._states:
            if self._custom_io.get(name) != self._custom_io.get(f"{name}{STATE}"):
                raise CheckFailed("OBE241", f"custom_io.yaml gives `{name}` two precisions")

    def _check_feeds(self, feeds: Mapping[str, np.ndarray]) -> None:
        if set(feeds) != set(self._inputs):
            message = f"the program takes {', '.join(self._inputs)}, and was given {', '.join(feeds) or 'nothing'}"
            raise CheckFailed("OBE241", message)
        for name, value in feeds.items():
            wanted = NUMPY_TYPES[self._inputs[name].type]
            if value.dtype != wanted:
                raise CheckFailed("OBE241", f"`{name}` is {value.dtype}, and the program takes {wanted.__name__}")
        if not any(self._fits(feeds, one) for one in self.specializations):
            raise CheckFailed("OBE241", f"no specialization has the shapes {_shapes(feeds)}{self._known()}")

    def _fits(self, feeds: Mapping[str, np.ndarray], one: Specialization) -> bool:
        return all(value.shape == one.shape(tuple(self._inputs[name].shape)) for name, value in feeds.items())

    def _known(self) -> str:
        shapes = [
            {name: one.shape(tuple(spec.shape)) for name, spec in self._inputs.items()} for one in self.specializations
        ]
        return "; it has " + " and ".join(str(one) for one in shapes)


def _opened(graph: Path, *, threads: int, rewritten: bool) -> onnxruntime.InferenceSession:
    """The session of a graph; one of QEfficient's is rewritten first, and loaded completely before the copy is gone."""
    if not rewritten:
        return open_session(graph, threads=threads)
    with TemporaryDirectory(prefix="onnxbuild-double-") as folder:
        rewrite(graph, Path(folder) / graph.name)
        return open_session(Path(folder) / graph.name, threads=threads)


def _shapes(feeds: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: value.shape for name, value in feeds.items()}
