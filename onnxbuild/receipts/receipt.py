"""Receipts: a run that finds everything up to date lists the files that it depended on; the next run only stats them.

A receipt records that this question (manifest, selectors, options, interpreter) had this answer while these files were
unchanged. It is a shortcut in front of the whole engine and decides nothing itself. If a file that the plan was made
from has changed (one of its stamps differs), the receipt does not apply and the engine decides everything. If only
files of some parts of the graph have changed, the engine decides these parts, with the plan that the receipt keeps
(docs/decisions/receipts.md).

This module imports only the lightest parts of the standard library, since a run with nothing to do spends its time on
imports (measured: msgspec 23 ms and PyYAML 14 against 9 for Python itself).

Layout: a line of JSON, `{"question": …, "format": number, "environment": {name: value digest}, "installed": …, "read":
[[path, size, mtime_ns, ctime_ns, inode], …], "absent": [path, …], "folders": [path, …], "links": {path: where it
leads}, "made": as "read", "store": [folder of blobs, database, its inode, its size, "digest size digest size …"],
"parts": [[[path, …], …], …], "answer": text, "memory": digest}`, then the memory: bytes that belong to the writer of
the receipt, and which a run with nothing to do never reads. Written atomically.

Somebody else may have written or damaged a receipt. One that is not a regular file, is huge, does not decode, or has
another format is ignored.
"""

from __future__ import annotations

import io
import json
import os
import sys
import zlib
from collections.abc import Iterable, Mapping
from stat import S_IFDIR, S_IFMT
from typing import Any

from onnxbuild.regular_files import leads_elsewhere, open_regular

Question = Mapping[str, Any]

# The folders of the standard library on the path.
_STANDARD = (f"python{sys.version_info.major}.{sys.version_info.minor}", "lib-dynload")

FORMAT = 4
_IS_WINDOWS = sys.platform == "win32"
_LARGEST = 256 << 20  # bytes; a receipt of 1,000 actions has 1 MB


def receipt_path(folder: str, question: Question) -> str:
    """The file of the receipt for a question, named by a checksum of it; `standing` compares the question itself."""
    name = zlib.crc32(json.dumps(question, sort_keys=True).encode())
    return os.path.join(folder, "receipts", f"{name:08x}.json")


class Standing:
    """A receipt whose plan still holds: its answer, and the numbers of the parts whose files have changed since."""

    __slots__ = ("_line", "_memory", "_path", "absent", "answer", "environment", "moved", "parts", "read", "store")

    def __init__(self, path: str, line: bytes, receipt: Mapping[str, Any]) -> None:
        self._path, self._line = path, line
        self.answer: str = receipt["answer"]
        self.read: list[str] = [file[0] for file in receipt["read"]]
        self._memory: str = receipt["memory"]
        self.absent: list[str] = receipt["absent"]
        self.environment: list[str] = list(receipt["environment"])
        self.store: str = os.path.dirname(receipt["store"][0])
        self.parts: list[list[Any]] = receipt["parts"]
        self.moved = frozenset(
            number for number, files in enumerate(self.parts) if _have_moved(files, receipt["links"])
        )

    def memory(self) -> bytes:
        """What was written with the receipt; empty if it is damaged or was replaced. Errors: OSError."""
        try:
            line, rest = _read(self._path, rest=True)
        except ValueError:
            return b""
        return rest if line == self._line and digest_of(rest) == self._memory else b""


def standing(folder: str, question: Question) -> Standing | None:
    """The receipt for a question; None if there is none, or if what its plan was made from has changed."""
    path = receipt_path(folder, question)
    try:
        line, _ = _read(path)
        receipt = json.loads(line)
        return Standing(path, line, receipt) if _holds(receipt, question) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError):
        return None


def _read(path: str, *, rest: bool = False) -> tuple[bytes, bytes]:
    """The line of a receipt, and what follows it. Errors: OSError, ValueError for a file that is too large."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > _LARGEST:
            raise ValueError(path)
        with io.BufferedReader(file, 1 << 16) as reader:
            return reader.readline(), reader.read() if rest else b""


def _holds(receipt: Mapping[str, Any], question: Question) -> bool:
    """Whether the answer of a receipt, or the plan that it keeps, may still be used for this question."""
    return (
        receipt["format"] == FORMAT
        and receipt["question"] == json.loads(json.dumps(question))
        and isinstance(receipt["answer"], str)
        and all(variable_fingerprint(name) == value for name, value in receipt["environment"].items())
        and receipt["installed"] == installed()
        # Every plan depends on some file: a receipt that watches none is not ours.
        and bool(receipt["read"])
        and _lead_there(receipt["folders"], receipt["links"])
        and not _have_moved([*receipt["read"], *receipt["made"]], receipt["links"])
        and not any(map(os.path.lexists, receipt["absent"]))
        and _is_stored(*receipt["store"])
    )


def _lead_there(folders: Iterable[str], links: Mapping[str, str]) -> bool:
    """Whether what was a folder is not a link now, and what was a link leads where it led.

    Moving a folder away and putting a link to it in its place changes no stamp of the files in it, but the engine
    refuses many such links. A folder that is missing says nothing: the files in it are missing, too.
    """
    lstat = os.lstat
    for folder in folders:
        try:
            status = lstat(folder)
        except FileNotFoundError:
            continue
        if S_IFMT(status.st_mode) != S_IFDIR or (_IS_WINDOWS and leads_elsewhere(status)):
            return False
    return all(os.path.realpath(link) == place for link, place in links.items())


def _have_moved(files: Iterable[Any], links: Mapping[str, str]) -> bool:
    """Whether one of the files has changed. Only what was a link is followed."""
    stat, lstat = os.stat, os.lstat
    try:
        for path, size, mtime, ctime, inode in files:
            status = stat(path) if path in links else lstat(path)
            if (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino) != (size, mtime, ctime, inode):
                return True
    except OSError:
        return True
    return False


def _is_stored(blobs: str, database: str, inode: int, size_then: int, held: str) -> bool:
    """Whether the store has the same database, and every file of the results with its size, as the engine asks.

    Results make the database longer. It is shorter after a collection, or if it was cut off.
    """
    lstat, fields = os.lstat, iter(held.split(" ") if held else ())
    try:
        status = lstat(database)
        return (status.st_ino == inode and status.st_size >= size_then) and all(
            lstat(f"{blobs}/{digest[:2]}/{digest}").st_size == int(size)
            for digest, size in zip(fields, fields, strict=True)
        )
    except OSError:
        return False


def installed() -> list[list[Any]]:
    """What changes when a package is installed, removed or edited: stamps of site-packages and of our own code."""
    folders = [place for place in sys.path if place and not place.endswith(_STANDARD) and os.path.isdir(place)]
    packages = [_installed_in(place) for place in folders]
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sources = [package, _sources(package)]
    return [*packages, sources, [sys.executable, os.stat(sys.executable).st_mtime_ns], list(_machine())]


def _sources(folder: str) -> int:
    """A checksum of names, sizes and times of all modules in a folder and below it, whatever their order."""
    total = 0
    for entry in os.scandir(folder):
        if entry.name.endswith(".py"):
            status = entry.stat()
            total += zlib.crc32(os.fsencode(f"{entry.path} {status.st_size} {status.st_mtime_ns}"))
        elif entry.is_dir() and entry.name != "__pycache__":
            total += _sources(entry.path)
    return total


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


def fingerprint(value: str | None) -> str | None:
    """A digest of a value: enough to notice a change, and no secret on the disk."""
    return None if value is None else digest_of(os.fsencode(value))


def variable_fingerprint(name: str) -> str | None:
    """A digest of a variable; of the working folder, too, if the variable may list folders and one is relative."""
    value = os.environ.get(name)
    if value and name.endswith("PATH") and not all(map(os.path.isabs, value.split(os.pathsep))):
        value = f"{value}{os.pathsep}{os.getcwd()}"
    return fingerprint(value)


def digest_of(data: bytes) -> str:
    """A digest of bytes; that of `onnxbuild.digest` takes longer to import."""
    try:
        from _blake2 import blake2b  # hashlib loads OpenSSL, which takes 3 ms
    except ImportError:  # another Python than CPython
        from hashlib import blake2b
    return blake2b(data, digest_size=16).hexdigest()
