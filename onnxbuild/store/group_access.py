"""Access for several users of one store: if a group may write to a folder, it may write to what is created below it.

The permissions of the store's folder are the model, as with git's `core.sharedRepository`: whoever creates the folder
decides once who may use it, and no umask of a later run locks the others out. Windows inherits permissions by itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import uuid
from pathlib import Path

_FOLDER_BITS = 0o2777
_FILE_BITS = 0o666


def make_folder(path: Path) -> None:
    """Create a folder of the store if it is missing; anything else in its place is an error. Errors: OSError."""
    try:
        if path.parent.is_dir() and is_shared(path.parent):
            _make_shared(path)
        else:
            path.mkdir(parents=True)
    except FileExistsError:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise


def _make_shared(path: Path) -> None:
    """Create a folder that has its permissions when it gets its name: others may be about to use it."""
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    fresh.mkdir()
    try:
        grant_as_folder(fresh)
        fresh.rename(path)  # also over an empty folder that another process made meanwhile
    except OSError as error:
        fresh.rmdir()
        if error.errno != errno.ENOTEMPTY:
            raise


def grant_as_folder(path: Path, descriptor: int | None = None) -> None:
    """Give a new file or folder the group and the permissions of its folder, if the folder's group may write there.

    Without the right to do so, nothing changes: the owner has it. `descriptor`: of the file, if it is open.
    """
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        if is_shared(path.parent):
            _grant(path if descriptor is None else descriptor, path.parent.stat())


def grant_below(folder: Path) -> None:
    """Give everything below a folder to its group as well, if the folder's group may write there.

    For what other programs create, such as pip. A file that its owner can execute, its group can, too; a link is left
    alone, and so is what it leads to. Errors: OSError.
    """
    if not is_shared(folder):
        return
    model = folder.stat()
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            if not os.path.islink(path):
                _grant_to_group(path, model)


def _grant_to_group(path: str, model: os.stat_result) -> None:
    status = os.stat(path)
    if status.st_gid != model.st_gid:
        with contextlib.suppress(OSError):  # only for a group that the user belongs to
            os.chown(path, -1, model.st_gid)
    mode = stat.S_IMODE(status.st_mode)
    wanted = mode | (mode & stat.S_IRWXU) >> 3 | (stat.S_ISGID if stat.S_ISDIR(status.st_mode) else 0)
    if mode != wanted:
        os.chmod(path, wanted)


def is_shared(folder: Path) -> bool:
    """Whether the group of a folder may write to it. Errors: OSError."""
    return sys.platform != "win32" and bool(folder.stat().st_mode & stat.S_IWGRP)


def _grant(target: Path | int, model: os.stat_result) -> None:
    status = os.stat(target)
    if status.st_gid != model.st_gid:
        with contextlib.suppress(OSError):  # only for a group that the user belongs to
            os.chown(target, -1, model.st_gid)
    bits = _FOLDER_BITS if stat.S_ISDIR(status.st_mode) else _FILE_BITS
    wanted = stat.S_IMODE(model.st_mode) & bits
    if stat.S_IMODE(status.st_mode) != wanted:
        os.chmod(target, wanted)
