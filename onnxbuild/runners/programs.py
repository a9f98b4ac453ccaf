"""Programs on the PATH that clients of packages and compilers need, files of drivers, and shared libraries.

A check runs as soon as its client is installed, and a variant is compiled as soon as its compiler is.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from onnxbuild.needs.devices import device_places
from onnxbuild.needs.step_needs import (
    ABSENT,
    DEVICE,
    FILE,
    LIBRARY,
    PROGRAM,
    is_of_machine,
    is_on_machine,
    library_places,
    need_name,
)
from onnxbuild.planning.action_graph import Action, ActionGraph
from onnxbuild.steps import all_kinds
from onnxbuild.steps.kind import Kind, packages_of

_SEARCHED = {PROGRAM: "PATH", LIBRARY: "LD_LIBRARY_PATH"}


@functools.cache
def program_version(name: str) -> str:
    """What identifies the program of this name: its size and its time stamp; "absent" if it is missing.

    A version would have to be asked for, and planning starts no process but the tool of a card.
    """
    place = shutil.which(name)
    if place is None:
        return ABSENT
    real = os.path.realpath(place)
    status = os.stat(real)
    return f"{os.path.basename(real)} of {status.st_size} bytes, {status.st_mtime_ns}"


def version_on_machine(name: str) -> str:
    """What the key has for a program, a file or a library of the machine; it is absent without the device for it."""
    if not is_on_machine(name):
        return ABSENT
    return program_version(name.removeprefix(PROGRAM)) if name.startswith(PROGRAM) else "there"


def programs_of(graph: ActionGraph) -> tuple[str, ...]:
    """The programs, files and libraries that checks of packages, compilers, engines and steps of plugins need."""
    kinds = all_kinds()
    clients = [graph.actions[one.client] for one in graph.packages if one.client is not None]
    others = [one for one in graph.actions.values() if _may_need_any(kinds[one.kind], one)]
    actions = (*clients, *others)
    names = (name for one in actions for name in packages_of(kinds[one.kind], _params(kinds[one.kind], one)))
    return tuple(dict.fromkeys(name for name in names if is_of_machine(name)))


def _may_need_any(kind: Kind, action: Action) -> bool:
    return bool(kind.backend) or kind.is_plugin or "runtime" in action.params


def variables_of(names: Iterable[str]) -> tuple[str, ...]:
    """The variables of the environment that say where these programs and libraries are searched."""
    found = {variable for name in names for prefix, variable in _SEARCHED.items() if name.startswith(prefix)}
    return tuple(sorted(found))


def _params(kind: Kind, action: Action) -> Any:
    return msgspec.convert(action.params, kind.params)


def places_of(names: Iterable[str]) -> Iterator[str]:
    """The files that programs may be, in the folders of the PATH up to the first that has them, and other files.

    For a library, they are the folders in which the loader looks. Files of devices come and go with them.
    """
    for full in names:
        name = full.removeprefix(PROGRAM)
        yield from device_places(need_name(full))
        if full.startswith(DEVICE):
            continue
        if full.startswith(LIBRARY):
            yield from library_places()
            continue
        if full.startswith(FILE):
            yield full.removeprefix(FILE)
            continue
        for folder in _folders_of_programs():
            place = os.path.join(os.path.abspath(folder), name)
            yield place
            if os.access(place, os.X_OK) and not os.path.isdir(place):
                break


def _folders_of_programs() -> Iterable[str]:
    """The folders of the PATH, as `shutil.which` reads it: one without a name is the working folder."""
    path = os.environ.get("PATH", os.defpath)
    return path.split(os.pathsep) if path else ()
