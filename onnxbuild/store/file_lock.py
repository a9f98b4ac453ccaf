"""One exclusive lock on a file, taken from the operating system without waiting.

Where Python has `fcntl`, this is `flock`. Elsewhere, in effect on Windows, filelock takes the lock. filelock works
on every system, but its import costs 44 ms of CPU, and a run with nothing to do takes a lock within a budget of 60 ms.
docs/decisions/locks.md has the comparison.

Both locks end with the process that holds them. On Windows nobody can read a file while it is locked, so the holder
is named in a second file beside it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Protocol

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_HOLDER_SUFFIX = ".holder"


class HeldLock(Protocol):
    """A lock that this process holds."""

    def write(self, text: bytes) -> None:
        """Write down who holds the lock, for `read_holder` of other processes."""

    def release(self) -> None:
        """Remove the lock's files and release the lock."""


def take_lock(path: Path) -> HeldLock | None:
    """Take the lock on `path`, or return None if another process, or another call of this one, holds it."""
    return _take_flock(path) if fcntl is not None else _take_portable(path)


def read_holder(path: Path) -> bytes:
    """What the holder of a lock wrote about itself; it may be incomplete at this moment. Errors: OSError."""
    return path.read_bytes() if fcntl is not None else _holder_file(path).read_bytes()


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock. The lock is held only as long as it takes to ask."""
    if fcntl is None:
        return _is_locked_portable(path)
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _try_flock(descriptor)
    finally:
        os.close(descriptor)


def is_holder_file(path: Path) -> bool:
    """Whether a file in a folder of locks is not a lock but the name of a holder."""
    return path.suffix == _HOLDER_SUFFIX


# -- flock ------------------------------------------------------------------------------------------------------------


class _Flock:
    """The file is removed while the lock is still held; a process that opened it meanwhile opens again."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def write(self, text: bytes) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _take_flock(path: Path) -> _Flock | None:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            taken = _try_flock(descriptor)
            if taken and _is_current(descriptor, path):
                return _Flock(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not taken:
            return None


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether the name still refers to the file that was locked."""
    opened = os.fstat(descriptor)
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    return (opened.st_ino, opened.st_dev) == (named.st_ino, named.st_dev)


# -- filelock ---------------------------------------------------------------------------------------------------------


class _Portable:
    def __init__(self, path: Path, lock: Any) -> None:
        self._path, self._lock = path, lock

    def write(self, text: bytes) -> None:
        _holder_file(self._path).write_bytes(text)

    def release(self) -> None:
        # The name goes first: a holder file without a lock beside it would never be removed.
        with contextlib.suppress(OSError):
            _holder_file(self._path).unlink(missing_ok=True)
        self._lock.release()


def _take_portable(path: Path) -> _Portable | None:
    import filelock

    # One thread of a run takes the lock of its working folder and another releases it.
    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return None
    return _Portable(path, lock)


def _is_locked_portable(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        lock = _take_portable(path)
    except FileNotFoundError:  # its folder was removed meanwhile
        return False
    if lock is not None:
        lock.release()
    return lock is None


def _holder_file(path: Path) -> Path:
    return path.with_name(f"{path.name}{_HOLDER_SUFFIX}")
