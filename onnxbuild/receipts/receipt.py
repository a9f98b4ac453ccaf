"""Receipts: a run that finds everything up to date lists the files that it depended on; the next run only stats them.

A receipt records that this question (manifest, selectors, options, interpreter) had this answer while these files were
unchanged. It is a shortcut in front of the whole engine and decides nothing itself. If a file that the plan was made
from has changed (one of its stamps differs), the receipt does not apply and the engine decides everything. If only
files of some parts of the graph have changed, the engine decides these parts, with the plan that the receipt keeps
(docs/decisions/receipts.md).

This module imports only the lightest parts of the standard library, since a run with nothing to do spends its time on
imports (measured: msgspec 23 ms and PyYAML 14 against 9 for Python itself).

Layout: a line of JSON, `{"question": …, "environment": {name: value digest}, "installed": …, "read": [[path, size,
mtime_ns, ctime_ns, inode], …], "made": …, "parts": [[[path, …], …], …], "answer": text}`, then the memory: bytes
that belong to the writer of the receipt, and which a run with nothing to do never reads. Written atomically.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Question = Mapping[str, Any]

# The folders of the standard library on the path.
_STANDARD = (f"python{sys.version_info.major}.{sys.version_info.minor}", "lib-dynload")

# A time stamp may be older than the moment of the change by a tick of the kernel's clock.
_TICK_NS = 20_000_000


def receipt_path(folder: str, question: Question) -> str:
    """The file of the receipt for a question, named by a checksum of it; `standing` compares the question itself."""
    name = zlib.crc32(json.dumps(question, sort_keys=True).encode())
    return os.path.join(folder, "receipts", f"{name:08x}.json")


class Standing:
    """A receipt whose plan still holds: its answer, and the numbers of the parts whose files have changed since."""

    __slots__ = ("_line", "_path", "answer", "moved", "parts", "read")

    def __init__(self, path: str, line: bytes, receipt: Mapping[str, Any]) -> None:
        self._path, self._line = path, line
        self.answer: str = receipt["answer"]
        self.read: list[str] = [file[0] for file in receipt["read"]]
        self.parts: list[list[Any]] = receipt["parts"]
        self.moved = frozenset(number for number, files in enumerate(self.parts) if _have_moved(files))

    def memory(self) -> bytes:
        """What was written with the receipt; empty if it has been replaced meanwhile. Errors: OSError."""
        with open(self._path, "rb") as file:
            return file.read() if file.readline() == self._line else b""


def standing(folder: str, question: Question) -> Standing | None:
    """The receipt for a question; None if there is none, or if what its plan was made from has changed."""
    path = receipt_path(folder, question)
    try:
        with open(path, "rb") as file:
            line = file.readline()
        receipt = json.loads(line)
        if receipt["question"] != json.loads(json.dumps(question)):
            return None
        if any(_checksum(os.environ.get(name)) != value for name, value in receipt["environment"].items()):
            return None
        if receipt["installed"] != installed() or _have_moved([*receipt["read"], *receipt["made"]]):
            return None
        return Standing(path, line, receipt)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _have_moved(files: Iterable[Any]) -> bool:
    stat = os.stat
    try:
        for path, size, mtime, ctime, inode in files:
            status = stat(path)
            if (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino) != (size, mtime, ctime, inode):
                return True
    except OSError:
        return True
    return False


class Part(NamedTuple):
    """The files that one part of an answer depends on.

    `made`: what the run wrote itself; `known`: files of sources and outputs, with the signatures that belong to the
    content that the answer is about.
    """

    made: Iterable[str]
    known: Mapping[str, Any]


def write_receipt(
    folder: str,
    question: Question,
    *,
    read: Sequence[str],
    began_ns: int,
    made: Sequence[str],
    parts: Iterable[Part | list[Any]],
    environment: Iterable[str],
    answer: str,
    memory: bytes = b"",
) -> None:
    """Write a receipt, unless a file that the answer depends on has changed since it was read.

    `read`: files and folders that planning read after `began_ns`; `made`: what the run wrote and all parts depend on.
    An unchanged part of an earlier receipt is passed as it is there. Errors: OSError, which harms nothing.
    """
    from pathlib import Path

    from onnxbuild.store.files import settled_signature, write_atomically

    stamps = {path: settled_signature(path) for path in {*read, *made}}
    # A manifest that is edited while its build runs must not be called up to date by the build's end.
    if any(stamps[path][2] >= began_ns - _TICK_NS for path in read):
        return
    receipt = {
        "question": question,
        "environment": {name: _checksum(os.environ.get(name)) for name in sorted(environment)},
        "installed": installed(),
        "read": [[path, *stamps[path]] for path in read],
        "made": [[path, *stamps[path]] for path in made],
        "parts": [part if isinstance(part, list) else _stamped(part) for part in parts],
        "answer": answer,
    }
    path = Path(receipt_path(folder, question))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(receipt, separators=(",", ":")).encode() + b"\n" + memory)


def _stamped(part: Part) -> list[Any]:
    from onnxbuild.store.files import settled_signature

    stamps = {path: settled_signature(path) for path in part.made if path not in part.known} | dict(part.known)
    return [[path, *stamp] for path, stamp in sorted(stamps.items())]


def installed() -> list[list[Any]]:
    """What changes when a package is installed, removed or edited: stamps of site-packages and of our own code."""
    folders = [place for place in sys.path if place and not place.endswith(_STANDARD) and os.path.isdir(place)]
    packages = [_installed_in(place) for place in folders]
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sources = [package, _newest_source(package)]
    return [*packages, sources, [sys.executable, os.stat(sys.executable).st_mtime_ns], list(_machine())]


def _newest_source(folder: str) -> int:
    """When the newest module in a folder, or in any folder below it, was written."""
    newest = 0
    for entry in os.scandir(folder):
        if entry.name.endswith(".py"):
            newest = max(newest, entry.stat().st_mtime_ns)
        elif entry.is_dir() and entry.name != "__pycache__":
            newest = max(newest, _newest_source(entry.path))
    return newest


def _installed_in(place: str) -> list[Any]:
    """One folder on the path. Unless it contains only packages, every run may change it, so only its packages count."""
    if place.endswith("-packages"):
        return [place, os.stat(place).st_mtime_ns]
    return [place, sorted(name for name in os.listdir(place) if name.endswith("-info"))]


def _machine() -> tuple[Any, ...]:
    """Enough of the machine to notice another one: facts that were measured elsewhere do not hold here."""
    return *_name_and_architecture(), _cores()


def _name_and_architecture() -> tuple[str | None, str | None]:
    """Windows has no `os.uname`, but both in the environment; importing `platform` would take longer than a receipt."""
    uname = getattr(os, "uname", None)
    if uname is None:
        return os.environ.get("COMPUTERNAME"), os.environ.get("PROCESSOR_ARCHITECTURE")
    return uname().nodename, uname().machine


def _cores() -> int | None:
    """The cores that this process may use, if the system limits them, or those of the machine."""
    affinity = getattr(os, "sched_getaffinity", None)
    return os.cpu_count() if affinity is None else len(affinity(0))


def _checksum(value: str | None) -> int | None:
    """A checksum of a variable's value: enough to notice a change, and no secret on the disk."""
    return None if value is None else zlib.crc32(value.encode())
