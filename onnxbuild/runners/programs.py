"""Programs on the PATH that clients of packages need, such as Node: a check runs as soon as its client is installed."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from onnxbuild.planning.action_graph import Action, ActionGraph
from onnxbuild.steps import all_kinds
from onnxbuild.steps.kind import PROGRAM, Kind, packages_of


@functools.cache
def program_version(name: str) -> str:
    """What identifies the program of this name: its size and its time stamp; "absent" if it is missing.

    A version would have to be asked for, and planning starts no process.
    """
    place = shutil.which(name)
    if place is None:
        return "absent"
    real = os.path.realpath(place)
    status = os.stat(real)
    return f"{os.path.basename(real)} of {status.st_size} bytes, {status.st_mtime_ns}"


def programs_of(graph: ActionGraph) -> tuple[str, ...]:
    """The programs that the checks of packages in a graph need."""
    kinds = all_kinds()
    checks = [graph.actions[one.client] for one in graph.packages if one.client is not None]
    names = (name for one in checks for name in packages_of(kinds[one.kind], _params(kinds[one.kind], one)))
    return tuple(dict.fromkeys(name.removeprefix(PROGRAM) for name in names if name.startswith(PROGRAM)))


def _params(kind: Kind, action: Action) -> Any:
    return msgspec.convert(action.params, kind.params)


def places_of(names: Iterable[str]) -> Iterator[str]:
    """The files that a program may be, in the folders of the PATH up to the first that has it."""
    for name in names:
        for folder in filter(None, os.environ.get("PATH", "").split(os.pathsep)):
            place = os.path.join(os.path.abspath(folder), name)
            yield place
            if os.path.isfile(place):
                break
