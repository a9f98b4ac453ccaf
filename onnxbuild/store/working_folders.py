"""Working folders: one for each run that makes something; it is removed with the run, or swept after a crash.

And journals: one for each action that can continue after a kill, until its result is recorded.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import uuid
from pathlib import Path

from onnxbuild.store import locks
from onnxbuild.store.files import entries_of, is_real_folder, remove_tree
from onnxbuild.store.group_access import make_folder

JOURNALS = "journals"
_NAME = re.compile(r"[0-9]+-[0-9a-f]{8}")


class WorkingFolder:
    """The folder in which one run makes its results; it is created on first use, under a lock that marks its owner."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "work" / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._opening = threading.Lock()  # several threads of a run may be the first to ask
        self._owned: contextlib.ExitStack | None = None

    def path(self) -> Path:
        """The folder, created if necessary. Errors: OSError."""
        with self._opening:
            if self._owned is None:
                self._owned = self._create()
        return self._path

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        if self._owned is not None:
            remove_tree(self._path)
            self._owned.close()
            self._owned = None

    def _create(self) -> contextlib.ExitStack:
        owned = contextlib.ExitStack()
        with _sweeping(self._root):
            _sweep(self._root)
            make_folder(self._path.parent)
            make_folder(self._path)
            # A collection that asks at this moment whether the lock is held takes it for that long.
            owned.enter_context(locks.hold(self._path / "owner", on_wait=lambda _holder: None))
        return owned


_KEY = re.compile(r"[0-9a-f]{64}")


def journal(root: Path, key: str) -> Path:
    """The folder in which the action with this key notes what it has found; created if necessary. Errors: OSError."""
    make_folder(root / JOURNALS)
    place = root / JOURNALS / key
    make_folder(place)
    return place


def forget_journal(root: Path, key: str) -> None:
    """Remove the journal of an action, if it has one."""
    if os.path.lexists(root / JOURNALS / key):
        remove_tree(root / JOURNALS / key)


def forget_journals(root: Path) -> None:
    """Remove the journals of actions that nobody is running; what a store does not make stays."""
    for place in entries_of(root / JOURNALS):
        if _KEY.fullmatch(place.name) and is_real_folder(place) and not locks.is_held(root / "locks" / place.name):
            remove_tree(place)


def sweep(root: Path, *, wait: bool = True) -> None:
    """Remove the working folders and lock files of runs that died; what a store does not make stays.

    Errors: OSError; `Waiting` where another process sweeps and `wait` is false.
    """
    if working_folders(root) or entries_of(root / "locks"):
        with _sweeping(root, wait=wait):
            _sweep(root)


def working_folders(root: Path) -> list[Path]:
    """The working folders of all runs, living and dead."""
    return [path for path in entries_of(root / "work") if _NAME.fullmatch(path.name) and is_real_folder(path)]


def _sweeping(root: Path, *, wait: bool = True) -> contextlib.AbstractContextManager[None]:
    """Held while folders are swept, and while one is created: before its owner has the lock, it looks abandoned."""
    return locks.hold(root / "sweeping", on_wait=(lambda _holder: None) if wait else None)


def _sweep(root: Path) -> None:
    for place in working_folders(root):
        if not locks.is_held(place / "owner"):
            remove_tree(place)
    locks.remove_unheld(root / "locks")
