"""Compares the files of a folder with what its `onnxbuild.json` lists, and names everything else that is in it.

The folder may come from anybody: no link is followed, no FIFO is waited for, and no listed name is opened that leads
out of the folder.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from onnxbuild.deliver.checking.account import Account, Listed
from onnxbuild.deliver.provenance import PROVENANCE
from onnxbuild.digest import BLAKE3, read_hashes
from onnxbuild.publishing.added_files import NAMES_THAT_MAY_BE_ADDED, UNREAD
from onnxbuild.regular_files import NotRegular, is_safe_name, leads_elsewhere


class Problem(Struct, frozen=True):
    """One thing that is not as it must be: a name below the folder, and what is wrong with it."""

    name: str
    kind: str  # missing, changed, added, link, special, unsafe, unreadable
    words: str


class Checked(Struct, frozen=True):
    """What a check has found. `added`: files that are not listed, and may be there."""

    problems: tuple[Problem, ...]
    added: tuple[str, ...]


def check_folder(folder: Path, account: Account, allowed: Sequence[str] = ()) -> Checked:
    """Compare every file. `allowed`: patterns of names that may be added."""
    names, odd = _names_below(folder)
    safe = {name: listed for name, listed in account.files.items() if is_safe_name(name)}
    others = sorted(names - safe.keys() - {PROVENANCE})
    added = tuple(name for name in others if _may_be_there(name, allowed))
    unknown = [Problem(name, "added", "is not listed: it was added") for name in others if name not in added]
    named = {problem.name for problem in odd}
    problems = [
        *(Problem(name, "unsafe", "is listed, and leads out of the folder") for name in account.files.keys() - safe),
        *odd,
        # Only what the walk has found: another name may be behind a link to a folder.
        *(Problem(name, "missing", "is missing") for name in safe.keys() - names - named),
        *_wrong(folder, {name: listed for name, listed in safe.items() if name in names}),
        *unknown,
    ]
    return Checked(tuple(sorted(problems, key=lambda one: (one.name, one.kind))), added)


def _may_be_there(name: str, allowed: Sequence[str]) -> bool:
    return name in NAMES_THAT_MAY_BE_ADDED or any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed)


def _names_below(folder: Path) -> tuple[set[str], list[Problem]]:
    """The names of the regular files below a folder, and what else is there."""
    names, odd, pending = set(), [], [""]
    while pending:
        below = pending.pop()
        try:
            with os.scandir(folder / below) as scan:
                entries = list(scan)
        except OSError as error:
            odd.append(Problem(below or ".", "unreadable", f"cannot be read: {error.strerror}"))
            continue
        for entry in entries:
            name = f"{below}{entry.name}"
            problem = _odd(name, entry)
            if problem is not None:
                odd.append(problem)
            elif not entry.is_dir(follow_symlinks=False):
                names.add(name)
            elif name not in UNREAD:
                pending.append(f"{name}/")
    return names, odd


def _odd(name: str, entry: os.DirEntry[str]) -> Problem | None:
    """The problem of an entry that is neither a file nor a folder."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        return Problem(name, "unreadable", f"cannot be read: {error.strerror}")
    if leads_elsewhere(status):
        return Problem(name, "link", "is a symbolic link: its content is elsewhere")
    if not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
        return Problem(name, "special", "is neither a file nor a folder")
    return None


def _wrong(folder: Path, listed: Mapping[str, Listed]) -> Iterator[Problem]:
    for name, wanted in listed.items():
        problem = _compared(folder, name, wanted)
        if problem is not None:
            yield problem


def _compared(folder: Path, name: str, wanted: Listed) -> Problem | None:
    try:
        size, digests = read_hashes(folder / name, BLAKE3, wanted.bytes)
    except NotRegular as error:
        return Problem(name, "special", str(error.strerror))
    except OSError as error:
        return Problem(name, "unreadable", f"cannot be read: {error.strerror}")
    if size != wanted.bytes:
        return Problem(name, "changed", f"has {size:,} bytes instead of {wanted.bytes:,}")
    if digests["blake3"] != wanted.blake3:
        return Problem(name, "changed", f"has other content: its BLAKE3 digest is {digests['blake3'][:16]}…")
    return None


def sha256_of(folder: Path, account: Account, text: bytes) -> dict[str, str]:
    """The SHA-256 digest of every file that an account lists, and of the account. Errors: OSError."""
    found = {PROVENANCE: hashlib.sha256(text).hexdigest()}
    for name, listed in account.files.items():
        if name != PROVENANCE:
            _, digests = read_hashes(folder / name, {"sha256": hashlib.sha256}, listed.bytes)
            found[name] = digests["sha256"]
    return dict(sorted(found.items()))
