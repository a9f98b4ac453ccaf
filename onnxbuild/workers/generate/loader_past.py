"""The sizes of the empty past that optimum's loaders begin with, set to those of the graph.

optimum-onnx 0.1.0 computes them from fields of config.json. Not every model type has its sizes there: a llama with
`head_dim`, or an olmo with fewer key-value heads than heads, loads and fails in its first pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_HEADS, _SIZE = 1, 3  # axes of [batch, heads, length, size]
_AXES = 4


class _Loader(NamedTuple):
    """A part of a loaded model that makes an empty past, how users reach it, and its attribute for the heads."""

    part: Any
    path: str
    heads: str


def fit_past(model: Any) -> str | None:
    """Let a model of optimum's loaders begin with the past that its graph takes; a warning if that was needed.

    Errors: ValueError if the loader cannot be told, because the layers have different sizes.
    """
    loader = _loader_of(model)
    if loader is None or not hasattr(loader.part, "embed_size_per_head"):
        return None
    sizes = _sizes(loader.part.input_shapes)
    if not sizes:
        return None
    if len(sizes) > 1:
        raise ValueError(f"the layers have different sizes: {sorted(sizes)}")
    return _fit(loader, *sizes.pop(), name=type(model).__name__)


def _loader_of(model: Any) -> _Loader | None:
    if hasattr(model, "num_key_value_heads"):
        return _Loader(model, "model", "num_key_value_heads")
    part = getattr(model, "decoder", None)
    return _Loader(part, "model.decoder", "num_attention_heads") if part is not None else None


def _sizes(shapes: Mapping[str, Any]) -> set[tuple[int, int]]:
    """The heads and their size of each key and value that the graph takes, where the graph says them."""
    past = (shape for name, shape in shapes.items() if name.startswith("past_key_values") and len(shape) == _AXES)
    pairs = ((shape[_HEADS], shape[_SIZE]) for shape in past)
    return {pair for pair in pairs if all(isinstance(size, int) for size in pair)}


def _fit(loader: _Loader, heads: int, size: int, *, name: str) -> str | None:
    before = getattr(loader.part, loader.heads), loader.part.embed_size_per_head
    if before == (heads, size):
        return None
    setattr(loader.part, loader.heads, heads)
    loader.part.embed_size_per_head = size
    return (
        f"optimum's {name} takes the sizes of an empty past from other fields of config.json ({before[0]} heads of"
        f" {before[1]}) than the graph has ({heads} heads of {size}), and fails in its first pass; after loading, set"
        f" `{loader.path}.{loader.heads} = {heads}` and `{loader.path}.embed_size_per_head = {size}`, as was done here"
    )
