"""From token vectors to one vector per text, as sentence-transformers computes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError
from onnxbuild.serve.inference.pools import Pool, pool_of, pooling_modes

_OTHER_MODULES = ("Transformer", "Pooling", "Normalize")


def pooling_of(folder: ModelFolder) -> Pool:
    """The pooling that the folder's `modules.json` names; without one the mean, as sentence-transformers does.

    Errors: UnusableModelError for a pooling or a module that the server does not have.
    """
    places = [str(one.get("path", "")) for one in _modules(folder) if _kind(one) == "Pooling"]
    modes = pooling_modes(folder.json(f"{places[0]}/config.json")) if places else ("mean",)
    try:
        return pool_of(modes)
    except KeyError:
        raise UnusableModelError(f"the server has no pooling `{' + '.join(modes)}`") from None


def is_normalized(folder: ModelFolder) -> bool:
    """Whether vectors have the length 1."""
    return any(_kind(one) == "Normalize" for one in _modules(folder))


def check_modules(folder: ModelFolder) -> None:
    """Refuse modules behind the graph that the server does not compute. Errors: UnusableModelError."""
    for one in _modules(folder):
        if _kind(one) not in _OTHER_MODULES:
            raise UnusableModelError(f"the graph does not contain the module `{_kind(one)}`, and the server has none")


def _modules(folder: ModelFolder) -> list[dict[str, Any]]:
    return folder.json_list("modules.json")


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]
