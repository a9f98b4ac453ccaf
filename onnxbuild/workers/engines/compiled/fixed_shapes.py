"""Samples of any shape in a program of one shape: rows in groups, each padded, and the padding cut from the outputs.

What is padded is masked: ids, masks and types of padding are 0, and it comes after the tokens of a row. A program
without a mask takes only rows of its own length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.compiled_record import CompiledStage

Call = Callable[[Mapping[str, np.ndarray]], Sequence[Any]]


class RanAs(Struct, frozen=True, kw_only=True):
    """The calls that run a sample in a program of fixed sizes, and the size of each."""

    batch: int
    sequence: int
    calls: int


class FixedShapes(Struct, frozen=True):
    """The size of each named dimension of a graph, such as `batch_size: 1` and `sequence_length: 128`.

    A dimension without a size is free.
    """

    sizes: Mapping[str, int]
    rows: str  # the dimension of the rows, the first one of every input

    @property
    def longest(self) -> int | None:
        """Tokens of the longest row; None if no dimension but that of the rows has a name."""
        return max((size for name, size in self.sizes.items() if name != self.rows), default=None)

    def around(self, call: Call, stage: CompiledStage) -> Call:
        """A call that takes what fits, for a program of these sizes. Errors of it: CheckFailed OBE251."""
        inputs = {name: one.shape for name, one in stage.inputs.items()}

        def run(feeds: Mapping[str, np.ndarray]) -> Sequence[Any]:
            actual = _actual(inputs, feeds)
            if all(actual.get(name, size) == size for name, size in self.sizes.items()):
                return call(feeds)
            self._check(actual, masked=any("mask" in name for name in inputs))
            parts = [self._part(call, inputs, stage, group, actual) for group in self._groups(feeds, inputs, actual)]
            return [np.concatenate(one) if len(parts) > 1 else one[0] for one in zip(*parts, strict=True)]

        return run

    def ran_as(self, stage: CompiledStage, feeds: Mapping[str, np.ndarray]) -> RanAs | None:
        """How a sample is run, where that is another shape than its own; None if it fits as it is."""
        actual = _actual({name: one.shape for name, one in stage.inputs.items()}, feeds)
        filled = {name: self.sizes.get(name, size) for name, size in actual.items()}
        if filled == actual:
            return None
        rows, size = actual.get(self.rows, 1), filled.get(self.rows, 1)
        lengths = {name: one for name, one in filled.items() if name != self.rows}
        changed = [one for name, one in lengths.items() if one != actual[name]]
        return RanAs(batch=size, sequence=max(changed or lengths.values(), default=1), calls=-(-rows // size))

    def padded(self, feeds: Mapping[str, np.ndarray], inputs: Mapping[str, Sequence[int | str]]) -> dict[str, Any]:
        """Feeds of at most these sizes, filled up with zeros."""
        return {
            name: _filled(value, self._shape(inputs[name], value)) for name, value in feeds.items() if name in inputs
        }

    def _shape(self, shape: Sequence[int | str], value: np.ndarray) -> tuple[int, ...]:
        return tuple(
            self.sizes.get(one, size) if isinstance(one, str) else one
            for one, size in zip(shape, value.shape, strict=True)
        )

    def _check(self, actual: Mapping[str, int], *, masked: bool) -> None:
        for name, size in actual.items():
            fixed = self.sizes.get(name, size)
            if name == self.rows or size == fixed or (size < fixed and masked):
                continue
            message = f"a sample has {size} in `{name}`, and the variant is compiled for {fixed}"
            hint = f"use samples of at most {fixed}, or compile for longer ones"
            without = f"use samples of {fixed}: the graph takes no mask, so that shorter ones cannot be padded"
            raise CheckFailed("OBE251", message, notes=[("hint", hint if size > fixed else without)])

    def _groups(
        self, feeds: Mapping[str, np.ndarray], inputs: Mapping[str, Sequence[int | str]], actual: Mapping[str, int]
    ) -> Iterator[Mapping[str, Any]]:
        of_rows = {name for name, shape in inputs.items() if shape[:1] == (self.rows,)}
        size = self.sizes.get(self.rows, 0) or actual.get(self.rows, 1)
        for start in range(0, actual.get(self.rows, 1), size):
            yield {name: value[start : start + size] if name in of_rows else value for name, value in feeds.items()}

    def _part(
        self,
        call: Call,
        inputs: Mapping[str, Sequence[int | str]],
        stage: CompiledStage,
        group: Mapping[str, np.ndarray],
        actual: Mapping[str, int],
    ) -> list[np.ndarray]:
        here = {**actual, **_actual(inputs, group)}
        values = call(self.padded(group, inputs))
        return [_cut(np.array(value), shape, here) for value, shape in zip(values, stage.outputs.values(), strict=True)]


def _actual(inputs: Mapping[str, Sequence[int | str]], feeds: Mapping[str, np.ndarray]) -> dict[str, int]:
    return {
        name: size
        for value, shape in inputs.items()
        if value in feeds
        for name, size in zip(shape, feeds[value].shape, strict=True)
        if isinstance(name, str)
    }


def _filled(value: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    widths = [(0, size - has) for size, has in zip(shape, value.shape, strict=True)]
    padded: np.ndarray = np.pad(value, widths)
    return padded


def _cut(value: np.ndarray, shape: Sequence[int | str], actual: Mapping[str, int]) -> np.ndarray:
    keep = (slice(actual.get(name)) if isinstance(name, str) else slice(None) for name in shape)
    part: np.ndarray = value[tuple(keep)]
    return part
