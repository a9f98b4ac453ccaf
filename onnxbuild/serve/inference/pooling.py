"""From token vectors to one vector per text, as sentence-transformers computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError

Pool = Callable[[np.ndarray, np.ndarray], np.ndarray]  # token vectors, mask

_SMALLEST = 1e-9
_OTHER_MODULES = ("Transformer", "Pooling", "Normalize")


def _first(vectors: np.ndarray, _mask: np.ndarray) -> np.ndarray:
    result: np.ndarray = vectors[:, 0]
    return result


def _last(vectors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    result: np.ndarray = vectors[np.arange(len(vectors)), mask.sum(axis=1) - 1]
    return result


def _mean(vectors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    weights: Any = mask[:, :, None].astype(np.float32)
    result: np.ndarray = (vectors * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), _SMALLEST)
    return result


def _largest(vectors: np.ndarray, mask: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.where(mask[:, :, None] > 0, vectors, -np.inf).max(axis=1)
    return result


_POOLS: Mapping[str, Pool] = {
    "pooling_mode_cls_token": _first,
    "pooling_mode_mean_tokens": _mean,
    "pooling_mode_max_tokens": _largest,
    "pooling_mode_lasttoken": _last,
}
# sentence-transformers 5.x may write one name instead of a flag for each mode.
_NAMES = {"cls": _first, "mean": _mean, "max": _largest, "lasttoken": _last}


def pooling_of(folder: ModelFolder) -> Pool:
    """The pooling that the folder's `modules.json` names; without one the mean, as sentence-transformers does.

    Errors: UnusableModelError for a pooling or a module that the server does not have.
    """
    places = [str(one.get("path", "")) for one in _modules(folder) if _kind(one) == "Pooling"]
    if not places:
        return _mean
    config = folder.json(f"{places[0]}/config.json")
    if isinstance(name := config.get("pooling_mode"), str) and name in _NAMES:
        return _NAMES[name]
    chosen = [name for name, is_on in config.items() if name.startswith("pooling_mode_") and is_on is True]
    if len(chosen) == 1 and chosen[0] in _POOLS:
        return _POOLS[chosen[0]]
    raise UnusableModelError(f"the server has no pooling `{' + '.join(chosen) or config.get('pooling_mode')}`")


def is_normalized(folder: ModelFolder) -> bool:
    """Whether vectors have the length 1."""
    return any(_kind(one) == "Normalize" for one in _modules(folder))


def check_modules(folder: ModelFolder) -> None:
    """Refuse modules behind the graph that the server does not compute. Errors: UnusableModelError."""
    for one in _modules(folder):
        if _kind(one) not in _OTHER_MODULES:
            raise UnusableModelError(f"the graph does not contain the module `{_kind(one)}`, and the server has none")


def normalized(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1."""
    lengths: Any = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return result


def _modules(folder: ModelFolder) -> list[dict[str, Any]]:
    return folder.json_list("modules.json")


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]
