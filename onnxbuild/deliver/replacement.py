"""Replaces an output folder as a whole, so that a kill at any moment loses neither the old folder nor the new one.

Constraints: a reader finds the old output or the new one; files of others in the old folder are kept, whatever they
are; the folder may be of any file system, also of one that cannot exchange two folders.

Beside the folder TARGET there are for a moment, each with a random mark of 32 digits at its end, so that no folder of
somebody else (`.TARGET.old.20261126`) is taken for one of them:

    .TARGET.fresh.…   being filled, only with our files: worthless after a kill
    .TARGET.whole.…   filled; after the exchange it is the old folder
    .TARGET.old.…     the old folder, where folders cannot be exchanged

`tidy_up` ends a replacement, and the next run does the same after a kill: if TARGET is missing, one of them takes its
place; then what is not ours is moved from the others to TARGET. So the code that recovers is the code of every
delivery. Hard links of the foreign files in both folders were rejected: folders have none, and a file that somebody
writes during the exchange would be lost.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from onnxbuild.deliver.foreign_files import Renamed, move_foreign
from onnxbuild.deliver.provenance import ours
from onnxbuild.regular_files import is_folder
from onnxbuild.store.files import flush, remove_tree

# What a run leaves when it is killed. Version 0.1 had the number of the process in the name, and `.old` at the end.
_LEFTOVER = re.compile(r"\.(?P<target>.+)\.(?:(?P<state>fresh|whole|old)\.[0-9a-f]{32}|fresh\.[0-9]+\.(?P<aside>old))")

# renameat2(2) of Linux: swap two folders in one step, so that a reader always finds the old output or the new one.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def leftovers(parent: Path) -> Mapping[str, list[Path]]:
    """What a killed run left beside the output folders below `parent`, by the name of the folder."""
    found: dict[str, list[Path]] = defaultdict(list)
    try:
        names = sorted(os.listdir(parent))
    except OSError:  # the folder is missing, or each delivery to it fails for the same reason
        return found
    for name in names:
        match = _LEFTOVER.fullmatch(name)
        if match and is_folder(str(parent / name)) and (not match["aside"] or ours(parent / name)):
            found[match["target"]].append(parent / name)
    return found


def replace_folder(folder: Path, fill: Callable[[Path], None], known: Collection[str] = ()) -> list[Renamed]:
    """Replace `folder` by a folder that `fill` has filled; foreign files move to it.

    `known`: names of files that are ours although the old folder does not describe them. Returns the foreign files
    that have another name now. Errors: OSError, and what `fill` raises; then the old folder is in its place.
    """
    mark = uuid.uuid4().hex
    fresh, whole = _beside(folder, "fresh", mark), _beside(folder, "whole", mark)
    fresh.mkdir(parents=True)
    try:
        fill(fresh)
        flush(fresh)
        os.rename(fresh, whole)
    except BaseException:
        remove_tree(fresh)
        raise
    try:
        _swap(whole, folder, _beside(folder, "old", mark))
        flush(folder.parent)
    finally:
        renamed = tidy_up(folder, filter(os.path.lexists, (whole, _beside(folder, "old", mark))), known)
    return renamed


def tidy_up(folder: Path, left: Iterable[Path], known: Collection[str] = ()) -> list[Renamed]:
    """Complete replacements of a folder that were begun; see `replace_folder`. Errors: OSError."""
    renamed: list[Renamed] = []
    for place in sorted(left, key=_is_old):
        if _is_fresh(place):
            remove_tree(place)
        elif not os.path.lexists(folder):
            os.rename(place, folder)
        else:
            renamed += move_foreign(str(place), str(folder), {*(file.name for file in ours(place)), *known})
    return renamed


def _beside(folder: Path, state: str, mark: str) -> Path:
    return folder.with_name(f".{folder.name}.{state}.{mark}")


def _state(place: Path) -> str:
    match = _LEFTOVER.fullmatch(place.name)
    assert match is not None, "BUG: `leftovers` matched it"
    return match["aside"] or match["state"]


def _is_old(place: Path) -> bool:
    return _state(place) == "old"


def _is_fresh(place: Path) -> bool:
    return _state(place) == "fresh"


def _swap(whole: Path, folder: Path, old: Path) -> None:
    """Replace `folder` by `whole`; the old folder then has the name `whole` or `old`."""
    if not os.path.lexists(folder):
        os.rename(whole, folder)
    elif not _exchange(whole, folder):
        # Not Linux, or a file system without exchange: for a moment, a reader finds no folder.
        os.rename(folder, old)
        try:
            os.rename(whole, folder)
        except OSError:
            os.rename(old, folder)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step; False if the system or the file system cannot."""
    if sys.platform != "linux":
        return False
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return call is not None and call(_AT_FDCWD, bytes(one), _AT_FDCWD, bytes(other), _RENAME_EXCHANGE) == 0
