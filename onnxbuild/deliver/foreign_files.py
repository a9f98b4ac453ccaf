"""Files in an output folder that others have put there: they are moved, and never removed, opened or followed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from onnxbuild.deliver.provenance import PROVENANCE
from onnxbuild.regular_files import is_folder
from onnxbuild.store.files import remove_file

# Somebody may add a file while a folder is being emptied; then the folder is searched again.
_PASSES = 10

Renamed = tuple[str, str]  # a name below the folder, and the one that the file has now


def move_foreign(old: str, new: str, ours: Collection[str]) -> list[Renamed]:
    """Move everything that is not ours from `old` to the same place below `new`, and remove `old` with our files in it.

    `ours`: names with slashes. A file with the name of one in `new` gets the ending `.kept`; these are returned. If
    this is killed, the next call continues: the description, which says what is ours, is removed last.
    Errors: OSError; what could not be moved is still in `old`.
    """
    parents = {name[:end] for name in ours for end in _slashes(name)}
    return list(_emptied(old, new, "", frozenset(ours) | {PROVENANCE}, parents))


def _slashes(name: str) -> Iterator[int]:
    return (end for end, character in enumerate(name) if character == "/")


def _emptied(old: str, new: str, prefix: str, ours: Collection[str], parents: Collection[str]) -> Iterator[Renamed]:
    _let_change(old)
    for _ in range(_PASSES):
        for name in _in_order(os.listdir(old), new, is_top=not prefix):
            place, target = os.path.join(old, name), os.path.join(new, name)
            if is_folder(place) and (prefix + name in parents or is_folder(target)):
                free = target if is_folder(target) else _free(target)
                yield from _emptied(place, free, f"{prefix}{name}/", ours, parents)
                if free != target and os.path.lexists(free):
                    yield prefix + name, prefix + os.path.basename(free)
            elif prefix + name in ours and not is_folder(place):
                remove_file(Path(place))
            else:
                yield from _moved(place, target, prefix)
        if _removed(old):
            return
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), old)


def _removed(folder: str) -> bool:
    """Remove an empty folder; False if it is no longer empty. Errors: OSError."""
    try:
        os.rmdir(folder)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        return False
    return True


def _in_order(names: list[str], new: str, *, is_top: bool) -> list[str]:
    """First the files that keep their names, so that no other file takes one; the description comes last."""
    return sorted(
        names, key=lambda name: (is_top and name == PROVENANCE, os.path.lexists(os.path.join(new, name)), name)
    )


def _moved(source: str, target: str, prefix: str) -> Iterator[Renamed]:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    free = _free(target)
    os.rename(source, free)
    if free != target:
        yield prefix + os.path.basename(target), prefix + os.path.basename(free)


def _free(place: str) -> str:
    """The path itself if it is free, else the path with `.kept`."""
    number, free = 1, place
    while os.path.lexists(free):
        free = f"{place}.kept" if number == 1 else f"{place}.kept-{number}"
        number += 1
    return free


def _let_change(folder: str) -> None:
    """Let the owner change a folder that somebody has made read-only."""
    if not os.access(folder, os.W_OK | os.X_OK):
        with contextlib.suppress(OSError):
            os.chmod(folder, stat.S_IMODE(os.lstat(folder).st_mode) | stat.S_IRWXU)
