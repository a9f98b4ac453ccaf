"""A lock that many processes share or one process holds alone: what `claims` is built on.

With `fcntl` it is `flock` on one file, shared or exclusive. Elsewhere there are only exclusive locks (`file_lock`). So
each process that shares takes a separate lock in a folder of readers. It does so while it holds the gate, which is the
lock on the file itself. A process that wants to be alone keeps the gate closed and waits until no reader is left.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from onnxbuild.store.file_lock import HeldLock, is_holder_file, is_locked, take_lock

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_RETRY_SECONDS = 0.02


class SharedLock:
    """One process's share of a lock. Not thread-safe: the caller counts its threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._reader: HeldLock | None = None

    def acquire(self) -> None:
        """Wait until no process holds the lock alone, and share it. Errors: OSError."""
        if fcntl is None:
            self._reader = _enter(self._path)
            return
        if self._descriptor is None:
            self._descriptor = _open(self._path)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        """Give up the share, and keep the file open for the next one."""
        if self._reader is not None:
            self._reader.release()
            self._reader = None
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give up the share and the file."""
        self.release()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@contextlib.contextmanager
def hold_alone(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock while no process shares it. Calls `on_wait` once if it has to wait. Errors: OSError."""
    with _alone_by_flock(path, on_wait) if fcntl is not None else _alone_by_gate(path, on_wait):
        yield


@contextlib.contextmanager
def _alone_by_flock(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    descriptor = _open(path)
    try:
        _wait_until(lambda: _is_taken(descriptor), on_wait)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
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
    folder.mkdir(parents=True, exist_ok=True)
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
        return [entry for entry in _readers_folder(path).iterdir() if not is_holder_file(entry)]
    except FileNotFoundError:
        return []


def _wait_until(condition: Callable[[], bool], on_wait: Callable[[], None]) -> None:
    if condition():
        return
    on_wait()
    while not condition():
        time.sleep(_RETRY_SECONDS)
