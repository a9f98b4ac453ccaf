"""Working folders: one for each run that makes something; it is removed with the run, or swept after a crash."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from pathlib import Path

from onnxbuild.store import locks
from onnxbuild.store.files import remove_tree


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
            self._path.mkdir(parents=True)
            # A collection that asks at this moment whether the lock is held takes it for that long.
            owned.enter_context(locks.hold(self._path / "owner", on_wait=lambda _holder: None))
        return owned


def sweep(root: Path, *, wait: bool = True) -> None:
    """Remove the working folders and lock files of runs that died.

    Errors: OSError; `Waiting` where another process sweeps and `wait` is false.
    """
    if _entries(root / "work") or _entries(root / "locks"):
        with _sweeping(root, wait=wait):
            _sweep(root)


def _sweeping(root: Path, *, wait: bool = True) -> contextlib.AbstractContextManager[None]:
    """Held while folders are swept, and while one is created: before its owner has the lock, it looks abandoned."""
    return locks.hold(root / "sweeping", on_wait=(lambda _holder: None) if wait else None)


def _sweep(root: Path) -> None:
    for place in _entries(root / "work"):
        if not locks.is_held(place / "owner"):
            remove_tree(place)
    locks.remove_unheld(root / "locks")


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
