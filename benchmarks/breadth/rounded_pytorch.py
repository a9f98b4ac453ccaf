"""PyTorch that computes with the rounded weights of a quantized graph, so that only a fault is left between the two.

Each quantized matrix of the graph must be a matrix of the checkpoint, no value of it more than a step away. PyTorch
then multiplies with it in place of its own. Where the graph rounds what is multiplied to bytes, PyTorch does as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    parts = [part for weight in model.parameters() for part in _parts(weight)]
    rounded: dict[tuple[int, str], torch.Tensor] = {}
    factors: dict[int, int] = {}
    for matrix in decoded(folder):
        part = _same(matrix, parts)
        key = part.weight.untyped_storage().data_ptr()
        whole = rounded.setdefault((key, matrix.use), part.weight.detach().clone())
        with torch.no_grad():
            part.view(whole).copy_(torch.from_numpy(np.ascontiguousarray(matrix.values)))
        if matrix.factor is not None:
            factors[key] = matrix.factor
    if seed:
        _move((*model.parameters(), *rounded.values()), seed)
    with _Rounding(rounded, factors):
        yield


def _move(weights: Iterable[torch.Tensor], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in weights:
            if weight.is_floating_point():
                weight.mul_(1 + 1e-6 * torch.randn(weight.shape, generator=generator))


def _own_memory(model: Any) -> None:
    """Memory of its own for each parameter, by which a view of it is known."""
    for weight in model.parameters():
        weight.data = weight.data.clone()


def _parts(weight: torch.Tensor) -> Iterator[_Part]:
    if weight.ndim == 2:
        yield from (_Part(weight, None, turned) for turned in (False, True))
    elif weight.ndim == 3:
        yield from (_Part(weight, place, turned) for place in range(len(weight)) for turned in (False, True))
    if weight.ndim > 2:
        yield _Part(weight, None, turned=False)


def _same(matrix: Decoded, parts: Iterable[_Part]) -> _Part:
    """The part of the checkpoint that the matrix was rounded from."""
    for part in parts:
        own = part.view(part.weight)
        if own.shape == matrix.values.shape and (
            np.abs(own.detach().float().numpy() - matrix.values) <= _SLACK * matrix.step
        ).all():
            return part
    raise Foreign(f"the matrix `{matrix.name}` of the graph, {'×'.join(map(str, matrix.values.shape))}, is none of the "
                  "checkpoint, each value within a step")  # fmt: skip


class _Rounding(TorchFunctionMode):
    def __init__(self, rounded: dict[tuple[int, str], torch.Tensor], factors: dict[int, int]) -> None:
        super().__init__()
        self._rounded, self._factors = rounded, factors

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.embedding:
            return func(args[0], self._instead(args[1], "table"), *args[2:], **kwargs)
        if func not in _PRODUCTS:
            return func(*args, **kwargs)
        swapped = [self._instead(value, "product") for value in args]
        for one, given in zip(swapped, args, strict=True):
            if one is not given and (block := self._factors.get(_key(given))) is not None:
                swapped = [_in_bytes(each, block) if _is_factor(func, place) and each is args[place] else each
                           for place, each in enumerate(swapped)]  # fmt: skip
        return func(*swapped, **kwargs)

    def _instead(self, value: Any, use: str) -> Any:
        """The same view of the rounded weight, if this is a view of a weight that the graph has rounded."""
        if not isinstance(value, torch.Tensor):
            return value
        whole = self._rounded.get((_key(value), use))
        return value if whole is None else whole.as_strided(value.shape, value.stride(), value.storage_offset())


def _key(value: Any) -> int:
    return value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) else 0


def _is_factor(func: Callable[..., Any], place: int) -> bool:
    """Whether this argument is multiplied, and not added."""
    return place in ((1, 2) if func in {torch.addmm, torch.baddbmm} else (0, 1))


def _in_bytes(values: torch.Tensor, block: int) -> torch.Tensor:
    """What the graph's operator makes of the factor that is no weight."""
    return _in_blocks(values, block) if block else _as_whole(values)


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
