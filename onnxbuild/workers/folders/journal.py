"""What an action has found so far, in a file that outlives its process: a killed action continues where it was.

Layout: one JSON object per line, `{"name": …, "value": …}`, appended when the value is known. The end of a line that a
kill cut short is removed. The engine gives each key a folder of its own, so that nothing in it can be out of date. A
file that cannot be read or written, such as that of another user, is left alone: the action then begins anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

_FILE = "found.jsonl"
T = TypeVar("T")


class _Entry(Struct, frozen=True):
    name: str
    value: Any


class Journal:
    """The values of an action by name. Without a folder, it lasts as long as the process."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read what is known."""
        self._path = folder / _FILE if folder is not None else None
        self._values: dict[str, Any] = {}
        if self._path is not None:
            with self._given_up_without_access():
                self._values = _read(self._path)

    def noted(self, name: str, find: Callable[[], T]) -> T:
        """The value of this name; it is found, and noted, if it is not known yet. It must be plain JSON."""
        if name not in self._values:
            line = msgspec.json.encode(_Entry(name, find()))
            self._append(line + b"\n")
            # What was found now is what would be read, so that both continue in the same way.
            self._values[name] = msgspec.json.decode(line, type=_Entry).value
        value: T = self._values[name]
        return value

    def _append(self, line: bytes) -> None:
        if self._path is not None:
            with self._given_up_without_access(), self._path.open("ab") as file:
                file.write(line)

    @contextmanager
    def _given_up_without_access(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._path = None


def _read(path: Path) -> dict[str, Any]:
    """The values of a file up to its first line that is none; the file then ends there."""
    values: dict[str, Any] = {}
    whole = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            entry = msgspec.json.decode(line, type=_Entry)
        except (ValueError, RecursionError):
            break
        if not line.endswith(b"\n"):
            break
        values[entry.name] = entry.value
        whole += len(line)
    if path.exists() and whole < path.stat().st_size:
        os.truncate(path, whole)
    return values
