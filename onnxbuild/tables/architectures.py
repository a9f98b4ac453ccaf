"""The task that a checkpoint's `architectures` imply, by the auto classes of transformers 4 and 5.

The name of a class does not say what it returns: `MarianMTModel` translates, and `GPT2DoubleHeadsModel` has two heads.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.tables.checkpoints.other_libraries import STATIC
from onnxbuild.tables.tasks import TASKS

_BASE = "feature-extraction"

_TASK_OF_AUTO: Mapping[str, str] = {
    # The last task of a class is the one with a cache.
    **{task.model_class: task.name for task in TASKS.values()},
    "AutoModel": _BASE,
    "AutoModelForTextEncoding": _BASE,
    "AutoModelForCTC": "automatic-speech-recognition",
    "AutoModelForImageTextToText": "image-to-text-with-past",
}

# Classes with two of these tasks have the first by construction: they also fill masks (BART), and what reads audio is
# also registered as a writer of text.
_OVER: Mapping[str, str] = {
    "text2text-generation-with-past": "fill-mask",
    "automatic-speech-recognition-with-past": "text2text-generation-with-past",
}

_NEWEST = 5
_GENERATIONS = (4, _NEWEST)


class Implied(Struct, frozen=True, kw_only=True):
    """The task that a config implies, or why it implies none, with the tasks that it may mean."""

    task: str | None = None
    because: str = "config.json does not imply one"
    candidates: tuple[str, ...] = ()


def infer_task(config: Mapping[str, Any], versions: Mapping[str, str]) -> str | None:
    """The task that a checkpoint's config.json implies, or None if it does not say."""
    return implied(config, versions).task


def implied(config: Mapping[str, Any], versions: Mapping[str, str]) -> Implied:
    """What `architectures` of a config.json imply for the transformers among these versions."""
    if config.get("model_type") == STATIC:
        return Implied(task=_BASE)
    names = config.get("architectures") or []
    names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if not names:
        return Implied()
    found = [_of_class(name, config, _generation(versions)) for name in names]
    if len({one.task for one in found}) > 1:
        return Implied(because=f"the architectures {_listed(names)} in config.json imply different ones")
    return found[0]


def _of_class(name: str, config: Mapping[str, Any], generation: int) -> Implied:
    autos = set(_own_autos(name, config)) or _autos(generation).get(name, set())
    tasks = _most_specific({_TASK_OF_AUTO[auto] for auto in autos if auto in _TASK_OF_AUTO})
    other = sorted(autos - _TASK_OF_AUTO.keys())
    if len(tasks) > 1:
        return Implied(because=f"`{name}` in config.json has several", candidates=tuple(sorted(tasks)))
    if tasks and not (other and tasks == {_BASE}):
        return Implied(task=min(tasks))
    if other:
        return Implied(because=f"`{name}` in config.json belongs to {', '.join(other)}, which has no task here")
    return Implied(because=_unknown(name, generation))


def _unknown(name: str, generation: int) -> str:
    elsewhere = [one for one in _GENERATIONS if one != generation and name in _autos(one)]
    if elsewhere:
        return f"`{name}` in config.json is a class of transformers {elsewhere[0]}, not {generation}"
    return f"no auto class of transformers {generation} has `{name}` of config.json"


def _most_specific(tasks: set[str]) -> set[str]:
    """The tasks without those that the others include: every model with a head also has hidden states."""
    losers = {_OVER[task] for task in tasks if task in _OVER} | {_BASE}
    return tasks - losers or tasks


def _own_autos(name: str, config: Mapping[str, Any]) -> Iterator[str]:
    """The auto classes under which a checkpoint's own code registers a class."""
    registered = config.get("auto_map")
    for auto, place in registered.items() if isinstance(registered, Mapping) else ():
        places = place if isinstance(place, list) else [place]
        if any(str(one).rpartition(".")[2] == name for one in places) and str(auto).startswith("AutoModel"):
            yield str(auto)


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _generation(versions: Mapping[str, str]) -> int:
    """The generation of transformers; the older one, which `auto` exports with, where it is not known."""
    first = versions.get("transformers", "").partition(".")[0]
    return min(_NEWEST, max(int(first), _GENERATIONS[0])) if first.isdecimal() else _GENERATIONS[0]


@functools.cache
def _autos(generation: int) -> Mapping[str, set[str]]:
    """The auto classes of each model class. The tables are large, and most manifests name their tasks."""
    table = importlib.import_module(f"onnxbuild.tables.model_classes_{generation}")
    autos: dict[str, set[str]] = {}
    for auto, names in table.CLASSES.items():
        for name in names.split():
            autos.setdefault(name, set()).add(auto)
    return autos
