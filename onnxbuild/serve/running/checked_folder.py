"""Only what a build has delivered is served: the files of a folder must be those that its description lists."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.digest import BLAKE3, read_hashes
from onnxbuild.publishing.added_files import NAMES_THAT_MAY_BE_ADDED, UNREAD
from onnxbuild.regular_files import NotRegular, is_behind_link, is_link, read_regular
from onnxbuild.serve.unusable_folder import UnusableFolderError

DESCRIPTION = "onnxbuild.json"
# The backends whose results the processes of models open (`inference/compiled_session.py`).
SERVED_BACKENDS = ("ort", "openvino")
_COMPILE = "compile-"  # begins the kinds of steps that compile
_LARGEST = 16 << 20  # bytes
_READ = (".json", ".jinja", ".onnx")  # the endings of what the server looks for by itself


class _File(Struct, frozen=True):
    blake3: str
    bytes: int


class _Step(Struct, frozen=True):
    kind: str
    facts: dict[str, Any] = {}

    @property
    def has_compared(self) -> bool:
        """Whether it has compared the outputs: on a machine without the runtime, it is skipped."""
        return self.kind == "validate" and "skipped" not in self.facts


class Description(Struct, frozen=True):
    """The part of a description that a server reads."""

    model: str
    target: str
    files: dict[str, _File]
    steps: tuple[_Step, ...] = ()

    @property
    def is_validated(self) -> bool:
        """Whether the build compared the outputs of the model with those of its source."""
        return any(step.has_compared for step in self.steps)


def description_of(folder: Path) -> Description:
    """The description in a delivered folder. Errors: UnusableFolderError."""
    try:
        return msgspec.json.decode(read_regular(folder / DESCRIPTION, _LARGEST), type=Description)
    except (OSError, ValueError, RecursionError) as error:
        raise UnusableFolderError(folder, f"`{DESCRIPTION}` cannot be read: {error}") from None


def check_files(folder: Path) -> Description:
    """Compare every file with its digest. Errors: UnusableFolderError names the first that differs."""
    description = description_of(folder)
    for step in description.steps:
        if step.kind.startswith(_COMPILE):
            _check_compiled(folder, step)
    for name, file in description.files.items():
        if name != DESCRIPTION and (why := _difference(folder, name, file)):
            raise UnusableFolderError(folder, f"`{name}` {why} since it was delivered")
    for name in _added(folder, description):
        hint = "remove it, or serve the folder as the build has delivered it"
        raise UnusableFolderError(folder, f"`{name}` was added since it was delivered", hint)
    return description


def _check_compiled(folder: Path, step: _Step) -> None:
    """A folder for another device may have a graph too, which would run on the CPU. Errors: UnusableFolderError."""
    backend = step.kind.removeprefix(_COMPILE)
    if backend not in SERVED_BACKENDS:
        served = " and ".join(f"`{name}`" for name in SERVED_BACKENDS)
        message = f"it is compiled for `{backend}`, and the server runs ONNX graphs and what {served} compile"
        raise UnusableFolderError(folder, message, f"serve a target without `compile:`, or one for {served}")
    if step.facts.get("state") != "compiled":
        hint = f"install `{step.facts.get('needs') or backend}` and build it again"
        raise UnusableFolderError(folder, f"it is only prepared for `{backend}`, not compiled", hint)


def _added(folder: Path, description: Description) -> Iterator[str]:
    """The names of what the server would read, and no build has delivered: a setting changes every answer.

    Not every file: people keep notes beside a model. A link is named whatever it is called, as it may lead to a folder.
    """
    allowed = {DESCRIPTION, *NAMES_THAT_MAY_BE_ADDED, *description.files}
    for place, folders, files in os.walk(folder):
        below = Path(place).relative_to(folder)
        folders[:] = sorted(one for one in folders if (below / one).as_posix() not in UNREAD)
        links = [one for one in folders if is_link(os.path.join(place, one))]
        read = [one for one in files if one.lower().endswith(_READ)]
        yield from (name for one in (*links, *sorted(read)) if (name := (below / one).as_posix()) not in allowed)


def _difference(folder: Path, name: str, file: _File) -> str | None:
    if ".." in Path(name).parts or Path(name).is_absolute() or is_behind_link(folder, name):
        return "has left the folder"
    try:
        return None if read_hashes(folder / name, BLAKE3, file.bytes)[1] == {"blake3": file.blake3} else "has changed"
    except NotRegular:
        return "has changed"
    except OSError:
        return "was removed"


def version_of(folder: Path) -> tuple[int, int, int] | None:
    """What differs as soon as a build has replaced the folder; None while there is no description."""
    try:
        found = os.stat(folder / DESCRIPTION)
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)
