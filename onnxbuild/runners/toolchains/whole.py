"""Whether an environment that was created from a lock is still complete: it must have the files that it had then."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from onnxbuild.planning.interpreters.distributions import Distributions
from onnxbuild.planning.interpreters.site_folders import NotUnderstood, site_folders
from onnxbuild.planning.toolchains import LockedToolchain, python_of
from onnxbuild.regular_files import read_regular
from onnxbuild.store.files import flush, write_atomically
from onnxbuild.store.group_access import grant_as_folder

_MARKER = ".whole"
_MOST_BYTES = 256 << 20  # a toolchain with torch and CUDA has 40,000 files, whose list takes 5 MB

# Path, size, and the second of the last change: copies of a store keep no more of it on every file system.
_File = tuple[str, int, int]


def mark_whole(place: Path) -> None:
    """Record which files an environment has, once everything is installed."""
    write_atomically(place / _MARKER, msgspec.json.encode(list(_files(place))), prepare=grant_as_folder)
    flush(place)


def what_is_wrong(place: Path, locked: LockedToolchain) -> str | None:
    """What is wrong with an environment, in words; None if it is complete. 40,000 files take 0.2 s."""
    if not os.path.lexists(place):
        return "it is missing"
    foreign = _foreign(place)
    if foreign is not None:
        return foreign
    try:
        written = read_regular(place / _MARKER, _MOST_BYTES)
        # Version 0.1 left the marker empty: its environments are listed now, if they have all packages of the lock.
        files = msgspec.json.decode(written, type=list[_File]) if written else list(_files(place))
    except (OSError, msgspec.MsgspecError):
        return "its creation was interrupted"
    changed = next((name for name, *was in files if _stamp(place / name) != tuple(was)), None)
    if changed is not None:
        return f"`{changed}` is missing" if not os.path.lexists(place / changed) else f"`{changed}` has changed"
    wrong = _not_as_locked(place, locked)
    if wrong is None and not written:
        mark_whole(place)
    return wrong


def _foreign(place: Path) -> str | None:
    """Whether somebody else may have put the environment there."""
    status = os.lstat(place)
    if not stat.S_ISDIR(status.st_mode):
        return "something else stands in its place"
    if hasattr(os, "geteuid"):
        parent = os.stat(place.parent)
        # In a store that a group shares, whoever may write to the folder may create environments for all.
        is_shared = bool(parent.st_mode & stat.S_IWGRP) and status.st_gid == parent.st_gid
        if status.st_uid not in {os.geteuid(), 0, parent.st_uid} and not is_shared:
            return "it belongs to another user"
        if status.st_mode & stat.S_IWOTH:
            return "everybody may write to it"
    return None


def _not_as_locked(place: Path, locked: LockedToolchain) -> str | None:
    """The first package of the lock that the environment lacks."""
    try:
        installed = Distributions(site_folders(str(python_of(place))).folders)
    except (NotUnderstood, FileNotFoundError):
        return "it has no interpreter"
    missing = next((one.name for one in locked.packages if installed.released(one.name) == "absent"), None)
    return f"{missing} is missing" if missing is not None else None


def _files(place: Path) -> Iterator[_File]:
    """The files of an environment. Python writes `.pyc` files while it runs; links lead to the base interpreter."""
    for folder, folders, names in os.walk(place):
        folders[:] = [one for one in folders if one != "__pycache__"]
        for name in names:
            path = os.path.join(folder, name)
            stamp = _stamp(path)
            if stamp is not None and name != _MARKER:
                yield (os.path.relpath(path, place), *stamp)


def _stamp(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Size and time of a file; zeros for a link; None for anything that is missing or not a regular file."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return (0, 0)
    return (status.st_size, int(status.st_mtime)) if stat.S_ISREG(status.st_mode) else None
