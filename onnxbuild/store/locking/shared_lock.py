"""A lock that many processes share or one process holds alone: what `claims` is built on.

Where there is `flock`, it is that on one file, shared or exclusive. Elsewhere there are only exclusive locks
(`file_lock`). So each process that shares takes a separate lock in a folder of readers. It does so while it holds the
gate, which is the lock on the file itself. A process that wants to be alone keeps the gate closed and waits until no
reader is left.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from onnxbuild.store.group_access import make_folder
from onnxbuild.store.locking.file_lock import HeldLock, is_locked, lock_of, take_lock
from onnxbuild.store.locking.lock_files import (
    HAS_FLOCK,
    NoLocks,
    open_lock_file,
    release_flock,
    share_flock,
    try_flock,
)

_RETRY_SECONDS = 0.02


class SharedLock:
    """One process's share of a lock. Not thread-safe: the caller counts its threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._reader: HeldLock | None = None

    def acquire(self) -> None:
        """Wait until no process holds the lock alone, and share it. Errors: OSError."""
        if not self._acquire_by_flock():
            self._reader = _enter(self._path)

    def _acquire_by_flock(self) -> bool:
        """False if the system or the file system has no `flock`."""
        if not HAS_FLOCK:
            return False
        if self._descriptor is None:
            self._descriptor = open_lock_file(self._path)
        try:
            share_flock(self._descriptor)
        except NoLocks:
            self._close_file()
            return False
        return True

    def release(self) -> None:
        """Give up the share, and keep the file open for the next one."""
        if self._reader is not None:
            self._reader.release()
            self._reader = None
        if self._descriptor is not None:
            release_flock(self._descriptor)

    def close(self) -> None:
        """Give up the share and the file."""
        self.release()
        self._close_file()

    def _close_file(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextlib.contextmanager
def hold_alone(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock while no process shares it. Calls `on_wait` once if it has to wait. Errors: OSError."""
    descriptor = None if not HAS_FLOCK else open_lock_file(path)
    try:
        by_flock = descriptor is not None and _is_alone(descriptor, on_wait)
        with contextlib.nullcontext() if by_flock else _alone_by_gate(path, on_wait):
            yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _is_alone(descriptor: int, on_wait: Callable[[], None]) -> bool:
    """Wait until the lock is held alone; False if the file system has no `flock`."""
    try:
        _wait_until(lambda: try_flock(descriptor), on_wait)
    except NoLocks:
        return False
    return True


@contextlib.contextmanager
def _alone_by_gate(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    notified = False

    def notify_once() -> None:
        nonlocal notified
        if not notified:
            notified = True
            on_wait()

    gate = _take(path, notify_once)
    try:
        _wait_until(lambda: not any(map(is_locked, _readers(path))), notify_once)
        yield
    finally:
        gate.release()


def _enter(path: Path) -> HeldLock:
    """The lock of one more reader, taken while the gate is open."""
    folder = _readers_folder(path)
    make_folder(folder)
    gate = _take(path, lambda: None)
    try:
        return _take(folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}", lambda: None)
    finally:
        gate.release()


def _take(path: Path, on_wait: Callable[[], None]) -> HeldLock:
    lock = take_lock(path)
    if lock is None:
        on_wait()
    while lock is None:
        time.sleep(_RETRY_SECONDS)
        lock = take_lock(path)
    return lock


def _readers_folder(path: Path) -> Path:
    return path.with_name(f"{path.name}.readers")


def _readers(path: Path) -> list[Path]:
    try:
        return [lock_of(entry) for entry in _readers_folder(path).iterdir()]
    except FileNotFoundError:
        return []


def _wait_until(condition: Callable[[], bool], on_wait: Callable[[], None]) -> None:
    if condition():
        return
    on_wait()
    while not condition():
        time.sleep(_RETRY_SECONDS)
