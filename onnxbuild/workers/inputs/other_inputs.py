"""Inputs that are neither text, images nor audio: by the table of their kinds, else by the graph alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.input_kinds import INPUT_KINDS, Axis, InputKind, Values, axes_of_config
from onnxbuild.workers.engines.engine import InputSpec
from onnxbuild.workers.inputs.media import vision_part
from onnxbuild.workers.inputs.sample_source import Source

_PAGE = 1000  # units of a page in each direction
_UNKNOWN_AXIS = 3  # the length of an axis that neither the graph nor the config gives
_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(bfloat16)", "tensor(double)")
_WHOLE = ("tensor(int64)", "tensor(int32)", "tensor(uint8)", "tensor(int8)", "tensor(bool)")


def other_input(
    source: Source, name: str, spec: InputSpec, rows: tuple[int, int], generator: np.random.Generator
) -> np.ndarray:
    """A value for the input, for `rows`: (batch, sequence). An unknown one gets noise, or zeros and ones.

    Errors: CheckFailed OBE37 for an input that is not numbers, or whose size is not known.
    """
    batch, sequence = rows
    if name == "flattened_patches":
        return _patches((batch, *_sizes(source, spec, sequence)), generator)
    kind = INPUT_KINDS.get(name)
    if kind is None or len(kind.axes) != len(spec.shape) - 1:
        kind = _unknown(name, spec)
        sizes = _sizes(source, spec, sequence)
    else:
        known = [_length(source, axis, name, sequence) for axis in kind.axes]
        sizes = tuple(f if isinstance(f, int) else k for f, k in zip(spec.shape[1:], known, strict=True))
    bound = _length(source, kind.bound, name, sequence)
    return _VALUES[kind.values](generator, (batch, *sizes), bound)


def config_sizes(source: Source, name: str, spec: InputSpec) -> dict[int, int]:
    """The sizes that the config gives the axes of an input which the graph leaves free, by their number."""
    axes = axes_of_config(name, len(spec.shape))
    sizes = {number: _entry(source, axis) for number, axis in axes.items() if isinstance(spec.shape[number], str)}
    return {number: size for number, size in sizes.items() if size is not None}


def _unknown(name: str, spec: InputSpec) -> InputKind:
    if spec.type not in (*_FLOATS, *_WHOLE):
        raise _refused(name, f"its type is {spec.type}")
    return InputKind((), "noise" if spec.type in _FLOATS else "below", 2)


def _refused(name: str, why: str) -> CheckFailed:
    return CheckFailed("OBE37", f"the graph takes an input `{name}` for which no sample can be made: {why}")


def _sizes(source: Source, spec: InputSpec, sequence: int) -> tuple[int, ...]:
    """The axes of an input after the batch, as the graph has or names them."""
    entries = _entries(source)
    return tuple(_named(axis, entries, sequence) for axis in spec.shape[1:])


def _named(axis: int | str, entries: Mapping[str, Any], sequence: int) -> int:
    if isinstance(axis, int):
        return axis
    if "sequence" in axis:
        return sequence
    named = entries.get(axis)
    return named if type(named) is int and named > 0 else _UNKNOWN_AXIS


def _length(source: Source, axis: Axis, name: str, sequence: int) -> int:
    """An axis, or the end of a range, as `input_kinds` writes it."""
    if isinstance(axis, int):
        return axis
    if isinstance(axis, str):  # `TOKENS`, the one word among the axes
        return sequence
    size = _entry(source, axis)
    if size is None:
        raise _refused(name, f"config.json has no {' or '.join(f'`{one}`' for one in axis)}")
    return size


def _entry(source: Source, axis: tuple[str | int, ...]) -> int | None:
    entries = _entries(source)
    sizes = (entries.get(one) if isinstance(one, str) else one for one in axis)
    return next((size for size in sizes if isinstance(size, int)), None)


def _entries(source: Source) -> Mapping[str, Any]:
    return {**vision_part(source.config), **source.text}


def _patches(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Pictures as rows of patches, each with its row and column from 1 on before its pixels."""
    values: np.ndarray = generator.standard_normal(shape, np.float32)
    columns = math.isqrt(shape[1] - 1) + 1
    place = np.arange(shape[1])
    values[..., 0], values[..., 1] = place // columns + 1, place % columns + 1
    return values


def _boxes(generator: np.random.Generator, shape: tuple[int, ...], bound: int) -> np.ndarray:
    corners: np.ndarray = generator.integers(0, min(bound, _PAGE + 1), (*shape[:-1], 2, 2))
    return np.sort(corners, axis=-2).reshape(shape)  # type: ignore[no-any-return]


def _first(_generator: np.random.Generator, shape: tuple[int, ...], _bound: int) -> np.ndarray:
    values: np.ndarray = np.zeros(shape, np.int64)
    values[:, 0] = 1
    return values


_VALUES: Mapping[Values, Callable[[np.random.Generator, tuple[int, ...], int], np.ndarray]] = {
    "noise": lambda generator, shape, _bound: generator.standard_normal(shape, np.float32),
    "below": lambda generator, shape, bound: generator.integers(0, bound, shape),
    "upto": lambda generator, shape, bound: generator.random(shape, np.float32) * np.float32(bound),
    "boxes": _boxes,
    "ones": lambda _generator, shape, _bound: np.ones(shape, np.int64),
    "first": _first,
}
