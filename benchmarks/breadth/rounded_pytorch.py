"""PyTorch that computes with the rounded weights of a quantized graph, so that only a fault is left between the two.

Each quantized matrix of the graph must be a matrix of the checkpoint, no value of it more than a step away. PyTorch
then multiplies with it in place of its own. Where the graph rounds what is multiplied to bytes, PyTorch does as well.
Rows and columns may have the scales of SmoothQuant, of which nothing is left in a product that is right: PyTorch takes
the matrix without them, and rounds the other factor with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from decoded import Decoded, decoded
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_PRODUCTS = {functional.linear, torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.Tensor.matmul,
             torch.Tensor.__matmul__, torch.Tensor.mm, torch.Tensor.bmm, functional.conv1d, functional.conv2d,
             functional.conv3d, torch.conv1d, torch.conv2d, torch.conv3d}  # fmt: skip
_SLACK = 1.001  # of a step: the steps are float32


class Foreign(Exception):  # noqa: N818 - a verdict, not a failure of this script
    """A matrix of the graph is none of the checkpoint."""


class _Factor(NamedTuple):
    """How the other factor is rounded: in blocks or as a whole (0), with the scales of the rows of the matrix."""

    block: int
    scales: torch.Tensor | None

    def in_bytes(self, values: torch.Tensor) -> torch.Tensor:
        if self.scales is not None:
            return _as_whole(values / self.scales) * self.scales
        return _in_blocks(values, self.block) if self.block else _as_whole(values)


class _Part(NamedTuple):
    """A parameter, or one matrix in a stack of them, as it is or on its side."""

    weight: torch.Tensor
    place: int | None
    turned: bool

    def view(self, whole: torch.Tensor) -> torch.Tensor:
        part = whole if self.place is None else whole[self.place]
        return part.transpose(0, 1) if self.turned else part


@contextmanager
def rounded(model: Any, folder: Path, seed: int = 0) -> Iterator[None]:
    """PyTorch with the graph's matrices; with a seed, all weights are moved by a millionth. Errors: Foreign."""
    _own_memory(model)
    parts = [part for weight in _stored(model) for part in _parts(weight)]
    rounded: dict[tuple[int, str], torch.Tensor] = {}
    factors: dict[int, _Factor] = {}
    for matrix in decoded(folder):
        for part, scales, values in _same(matrix, parts):
            key = part.weight.untyped_storage().data_ptr()
            whole = rounded.setdefault((key, matrix.use), part.weight.detach().clone())
            with torch.no_grad():
                part.view(whole).copy_(torch.from_numpy(values))
            if matrix.factor is not None:
                factors[key] = _Factor(matrix.factor, scales)
    if seed:
        _move((*model.parameters(), *rounded.values()), seed)
    model.is_rounded = True
    with _Rounding(rounded, factors):
        yield


def _move(weights: Iterable[torch.Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in weights:
            if weight.is_floating_point():
                weight.mul_(1 + 1e-6 * torch.randn(weight.shape, generator=generator))


def _stored(model: Any) -> Iterator[torch.Tensor]:
    """What a graph may have rounded: parameters, and buffers such as the random frequencies of SAM's points."""
    yield from model.parameters()
    yield from (buffer for buffer in model.buffers() if buffer.is_floating_point())


def _own_memory(model: Any) -> None:
    """Memory of its own for each of them, by which a view of it is known."""
    for weight in _stored(model):
        weight.data = weight.data.clone()


def _parts(weight: torch.Tensor) -> Iterator[_Part]:
    if weight.ndim == 2:
        yield from (_Part(weight, None, turned) for turned in (False, True))
    elif weight.ndim == 3:
        yield from (_Part(weight, place, turned) for place in range(len(weight)) for turned in (False, True))
    if weight.ndim > 2:
        yield _Part(weight, None, turned=False)


_Match = tuple[_Part, torch.Tensor | None, np.ndarray]


def _same(matrix: Decoded, parts: list[_Part]) -> list[_Match]:
    """The part of the checkpoint that the matrix was rounded from, the scales of its rows, and it without scales.

    Two parts for two matrices in one, which MobileBERT joins before it multiplies.
    """
    match = _match(matrix, parts)
    found = [match] if match else _stacked(matrix, parts)
    if not found:
        raise Foreign(f"the matrix `{matrix.name}` of the graph, {'×'.join(map(str, matrix.values.shape))}, is none of "
                      "the checkpoint, each value within a step")  # fmt: skip
    return found


def _stacked(matrix: Decoded, parts: list[_Part]) -> list[_Match]:
    """The parts that the upper and the lower rows of the matrix were rounded from; none if there are no two."""
    heights = {view.shape[0] for part in parts if (view := part.view(part.weight)).ndim == matrix.values.ndim == 2}
    for height in sorted(height for height in heights if height < len(matrix.values)):
        halves = [matrix._replace(values=matrix.values[rows], step=matrix.step[rows])
                  for rows in (slice(height), slice(height, None))]  # fmt: skip
        found = [match for half in halves if (match := _plain_match(half, parts))]
        if len(found) == len(halves):
            return found
    return []


def _match(matrix: Decoded, parts: list[_Part]) -> _Match | None:
    match = _plain_match(matrix, parts)
    if match or matrix.factor != 0 or matrix.values.ndim != 2:
        return match
    for part, own in _fitting(matrix, parts):
        rows, columns = _scales(own, matrix.values)
        scales = rows[:, None] * columns
        if (scales > 0).all() and _is_near(own, matrix.values / scales, matrix.step / scales):
            return part, torch.from_numpy(rows), np.ascontiguousarray(matrix.values / scales)
    return None


def _plain_match(matrix: Decoded, parts: list[_Part]) -> _Match | None:
    """The part without scales."""
    for part, own in _fitting(matrix, parts):
        if _is_near(own, matrix.values, matrix.step):
            return part, None, np.ascontiguousarray(matrix.values)
    return None


def _fitting(matrix: Decoded, parts: list[_Part]) -> list[tuple[_Part, np.ndarray]]:
    return [(part, part.view(part.weight).detach().float().numpy()) for part in parts
            if part.view(part.weight).shape == matrix.values.shape]  # fmt: skip


def _is_near(own: np.ndarray, values: np.ndarray, step: np.ndarray) -> bool:
    return bool((np.abs(own - values) <= _SLACK * step).all())


def _scales(own: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scales of rows and columns by which `values` differs from `own`, in eighths of an octave, or 0."""
    columns: np.ndarray = np.ones(own.shape[1], np.float32)
    for _ in range(4):
        rows = _ratio(values, own * columns, axis=1)
        columns = _ratio(values, own * rows[:, None], axis=0)
    return _on_grid(rows * columns[0]), _on_grid(columns / (columns[0] or 1))


def _ratio(values: np.ndarray, own: np.ndarray, axis: int) -> np.ndarray:
    return (values * own).sum(axis=axis) / np.maximum((own**2).sum(axis=axis), 1e-30)


def _on_grid(scales: np.ndarray) -> np.ndarray:
    positive = np.exp2(np.round(np.log2(np.maximum(scales, 1e-30)) * 8) / 8)
    return np.where(scales > 0, positive, 0).astype(np.float32)


class _Rounding(TorchFunctionMode):
    def __init__(self, rounded: dict[tuple[int, str], torch.Tensor], factors: dict[int, _Factor]) -> None:
        super().__init__()
        self._rounded, self._factors = rounded, factors
        self._kept: list[torch.Tensor] = []  # so that their memory, by which they are known, is not used again

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = _by_place(args, kwargs or {})
        if func is functional.embedding:
            return func(args[0], self._instead(args[1], "table"), *args[2:], **kwargs)
        if func is torch.cat:
            return self._joined(func(*args, **kwargs), args, kwargs)
        if func not in _PRODUCTS:
            return func(*args, **kwargs)
        swapped = [self._instead(value, "product") for value in args]
        for one, given in zip(swapped, args, strict=True):
            if one is not given and (factor := self._factors.get(_key(given))) is not None:
                swapped = [factor.in_bytes(each) if _is_factor(func, place) and each is args[place] else each
                           for place, each in enumerate(swapped)]  # fmt: skip
        return func(*swapped, **kwargs)

    def _joined(self, plain: torch.Tensor, args: Any, kwargs: Any) -> torch.Tensor:
        """What is joined; if it is rounded weights, a product that reads it takes those."""
        given = args[0] if args else ()
        swapped = [self._instead(value, "product") for value in given]
        if swapped and all(one is not value for one, value in zip(swapped, given, strict=True)):
            self._rounded[_key(plain), "product"] = torch.cat(swapped, *args[1:], **kwargs)
            self._factors.update({_key(plain): self._factors[_key(one)] for one in given if _key(one) in self._factors})
            self._kept.append(plain)
        return plain

    def _instead(self, value: Any, use: str) -> Any:
        """The same view of the rounded weight, if this is a view of a weight that the graph has rounded."""
        if not isinstance(value, torch.Tensor):
            return value
        whole = self._rounded.get((_key(value), use))
        return value if whole is None else whole.as_strided(value.shape, value.stride(), value.storage_offset())


def _by_place(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments, the first two by place: Mamba's convolutions get their weight by name."""
    first = [kwargs[name] for name in ("input", "weight")[len(args) :] if name in kwargs]
    return (*args, *first), {name: value for name, value in kwargs.items() if not any(value is one for one in first)}


def _key(value: Any) -> int:
    return value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) else 0


def _is_factor(func: Callable[..., Any], place: int) -> bool:
    """Whether this argument is multiplied, and not added."""
    return place in ((1, 2) if func in {torch.addmm, torch.baddbmm} else (0, 1))


def _as_whole(values: torch.Tensor) -> torch.Tensor:
    """As DynamicQuantizeLinear rounds: 256 steps from the least to the largest value, zero being one of them."""
    least, most = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = (most - least) / 255 or 1.0
    zero = round(-least / scale)
    return (torch.clamp(torch.round(values / scale) + zero, 0, 255) - zero) * scale


def _in_blocks(values: torch.Tensor, block: int) -> torch.Tensor:
    """As MatMulNBits of level 4 does on a CPU: each block of a row in 127 steps on either side of zero."""
    width = values.shape[-1]
    filled = functional.pad(values, (0, -width % block)).unflatten(-1, (-1, block))
    scale = (filled.abs().amax(dim=-1, keepdim=True) / 127).clamp(min=1e-30)
    return (torch.round(filled / scale) * scale).flatten(-2)[..., :width]
