"""Pooling as sentence-transformers computes it, with numpy alone.

The package `sentence-transformers` has a copy of this file in its loader, so it imports nothing of onnxbuild.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Pool = Callable[[np.ndarray, np.ndarray], np.ndarray]  # token vectors and mask → one vector per text

_SMALLEST = 1e-9


def _first(vectors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    result: np.ndarray = vectors[np.arange(len(vectors)), mask.argmax(axis=1)]
    return result


def _last(vectors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    result: np.ndarray = vectors[np.arange(len(vectors)), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)]
    return result


def _sums(vectors: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    column: Any = weights[:, :, None].astype(np.float32)
    return (vectors * column).sum(axis=1), np.maximum(column.sum(axis=1), _SMALLEST)


def _mean(vectors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    total, count = _sums(vectors, mask)
    result: np.ndarray = total / count
    return result


def _mean_by_root(vectors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    total, count = _sums(vectors, mask)
    result: np.ndarray = total / np.sqrt(count)
    return result


def _weighted(vectors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    total, count = _sums(vectors, mask * np.arange(1, mask.shape[1] + 1))
    result: np.ndarray = total / count
    return result


def _largest(vectors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.where(mask[:, :, None] > 0, vectors, -np.inf).max(axis=1)
    return result


# By the names of sentence-transformers 5, in the order in which it puts several side by side.
_POOLS: Mapping[str, Pool] = {
    "cls": _first,
    "max": _largest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted,
    "lasttoken": _last,
}
# The flags of earlier versions, where they are not `pooling_mode_` and the name.
_FLAGS: Mapping[str, str] = {
    "cls": "cls_token",
    "max": "max_tokens",
    "mean": "mean_tokens",
    "weightedmean": "weightedmean_tokens",
}


def pooling_modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The modes that the config of a Pooling module names, by either way to write them; the mean if it names none."""
    written = config.get("pooling_mode")
    if written is not None:
        return (written,) if isinstance(written, str) else tuple(map(str, written))
    flags = {f"pooling_mode_{_FLAGS.get(mode, mode)}": mode for mode in _POOLS}
    known = [mode for flag, mode in flags.items() if config.get(flag) is True]
    others = [
        flag for flag, on in config.items() if flag.startswith("pooling_mode_") and on is True and flag not in flags
    ]
    return (*known, *others) or ("mean",)


def pool_of(modes: Sequence[str]) -> Pool:
    """The function for some modes, whose vectors are put side by side. Errors: KeyError for an unknown mode."""
    pools = [_POOLS[mode] for mode in modes]
    if len(pools) == 1:
        return pools[0]
    return lambda vectors, mask: np.concatenate([pool(vectors, mask) for pool in pools], axis=1)


def normalized(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1."""
    lengths: Any = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return result
