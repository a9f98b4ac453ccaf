"""The environments in a store that no lock file names any more, and their removal while runs go on."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from msgspec import Struct

from onnxbuild.planning.lock_file import lock_path, read_lock
from onnxbuild.runners.toolchains.locked_environment import use_lock
from onnxbuild.store import locks
from onnxbuild.store.files import remove_tree
from onnxbuild.store.group_access import make_folder
from onnxbuild.store.locking.shared_lock import hold_alone

_DIGEST = re.compile(r"[0-9a-f]{64}")


class FreedToolchains(Struct, frozen=True):
    """What was removed, or would be: `in_use` counts unneeded environments that a run in progress uses."""

    count: int = 0
    bytes: int = 0
    in_use: int = 0


def needed_toolchains(manifests: Iterable[str]) -> frozenset[str]:
    """The digests of the environments that the lock files beside some manifests name, for each Python and platform.

    Errors: DiagnosticError OB031 for a lock that cannot be read, since it is then unknown what it needs.
    """
    paths = {os.path.realpath(lock_path(manifest)) for manifest in manifests}
    entries = (entry for path in sorted(paths) for entry in read_lock(Path(path)).toolchains.items())
    return frozenset(locked.digest_for(key.partition(": ")[0]) for key, locked in entries)


def free_toolchains(store: Path, needed: frozenset[str], *, dry_run: bool) -> FreedToolchains:
    """Remove the environments of a store that are not needed, except those that a run uses. Errors: OSError."""
    count = size = in_use = 0
    for place in _environments(store / "toolchains"):
        if place.name in needed:
            continue
        held = _size(place)
        if dry_run or _removed(place, store / "locks" / f"toolchain-{place.name}"):
            count, size = count + 1, size + held
        else:
            in_use += 1
    return FreedToolchains(count, size, in_use)


def _removed(place: Path, creation: Path) -> bool:
    """Remove an environment; false if a run uses or creates it at the moment."""
    make_folder(creation.parent)
    try:
        with locks.hold(creation), hold_alone(use_lock(place), _give_up):
            # Remove the marker first: if the removal is killed, the rest counts as an interrupted creation.
            with contextlib.suppress(FileNotFoundError):
                (place / ".whole").unlink()
            remove_tree(place)
    except locks.Waiting:
        return False
    return True


def _give_up() -> NoReturn:
    raise locks.Waiting


def _environments(folder: Path) -> Iterator[Path]:
    """The folders that `locked_environment` makes: named by a digest, and not links to anywhere."""
    with contextlib.suppress(FileNotFoundError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if _DIGEST.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)


def _size(folder: Path) -> int:
    paths = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    return sum(map(_size_of, paths))


def _size_of(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:  # pip or Python is removing files there
        return 0
