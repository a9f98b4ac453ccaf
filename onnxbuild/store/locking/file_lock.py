"""One exclusive lock on a file, taken from the operating system without waiting.

Where Python has `fcntl`, this is `flock`. Elsewhere, in effect on Windows, filelock takes the lock. filelock works
on every system, but its import costs 44 ms of CPU, and a run with nothing to do takes a lock within a budget of 60 ms.
On a file system without `flock`, filelock's soft lock takes its place: a file that names its process and machine.
docs/decisions/locks.md has the comparison.

The locks of the system end with the process that holds them. A soft lock whose process is dead is broken by the next
process on the same machine. On Windows nobody can read a file while it is locked, and a soft lock has its own content,
so there the holder is named in a second file beside it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any, Protocol

from onnxbuild.regular_files import read_regular
from onnxbuild.store.files import is_real_file
from onnxbuild.store.locking.lock_files import HAS_FLOCK, NoLocks, open_lock_file, try_flock

_HOLDER_SUFFIX = ".holder"
_SOFT_SUFFIX = ".soft"
_MOST_BYTES_OF_A_HOLDER = 1 << 20


class HeldLock(Protocol):
    """A lock that this process holds."""

    def write(self, text: bytes) -> None:
        """Record who holds the lock, for `read_holder` of other processes. Do nothing if the file is not writable."""

    def release(self) -> None:
        """Remove the lock's files and release the lock."""


def take_lock(path: Path) -> HeldLock | None:
    """Take the lock on `path`, or return None if another process, or another call of this one, holds it.

    Errors: OSError.
    """
    if not HAS_FLOCK:
        return _take_portable(path)
    try:
        return _take_flock(path)
    except NoLocks:
        path.unlink(missing_ok=True)
        return _take_soft(path)


def read_holder(path: Path) -> bytes:
    """What the holder of a lock wrote about itself; it may be incomplete at this moment. Errors: OSError."""
    beside = not (HAS_FLOCK and path.exists())
    return read_regular(_holder_file(path) if beside else path, _MOST_BYTES_OF_A_HOLDER)


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock. The lock is held only as long as it takes to ask. Errors: OSError."""
    if not HAS_FLOCK:
        return _is_taken(path, _take_portable)
    if _soft_file(path).exists():
        return _is_taken(_soft_file(path), lambda _soft: _take_soft(path))
    return _is_flocked(path)


def _is_flocked(path: Path) -> bool:
    if not is_real_file(path):
        return False
    try:
        descriptor = open_lock_file(path, create=False)  # this question leaves nothing behind
    except FileNotFoundError:  # it was removed meanwhile
        return False
    try:
        return not try_flock(descriptor)
    except NoLocks:
        return False
    finally:
        os.close(descriptor)


def lock_of(path: Path) -> Path:
    """The lock that a file in a folder of locks belongs to: the file itself, or the name without our suffixes."""
    return path.with_suffix("") if path.suffix in {_HOLDER_SUFFIX, _SOFT_SUFFIX} else path


# -- flock ------------------------------------------------------------------------------------------------------------


class _Flock:
    """The file is removed while the lock is still held; a process that opened it meanwhile opens again."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def write(self, text: bytes) -> None:
        with contextlib.suppress(OSError):  # the file of another user who died, open for reading only
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, text, 0)

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _take_flock(path: Path) -> _Flock | None:
    while True:
        descriptor = open_lock_file(path)
        try:
            taken = try_flock(descriptor)
            if taken and _is_current(descriptor, path):
                return _Flock(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not taken:
            return None


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether the name still refers to the file that was locked."""
    opened = os.fstat(descriptor)
    try:
        named = os.lstat(path)
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
    return _acquired(path, filelock.FileLock(path, thread_local=False))


def _take_soft(path: Path) -> _Portable | None:
    import filelock

    return _acquired(path, filelock.SoftFileLock(_soft_file(path), thread_local=False))


def _acquired(path: Path, lock: Any) -> _Portable | None:
    import filelock

    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return None
    except FileExistsError as error:  # filelock makes the folder, which was there and was removed at that moment
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    return _Portable(path, lock)


def _is_taken(path: Path, take: Any) -> bool:
    if not path.exists():
        return False
    try:
        lock = take(path)
    except FileNotFoundError:  # its folder was removed meanwhile
        return False
    if lock is not None:
        lock.release()
    return lock is None


def _holder_file(path: Path) -> Path:
    return path.with_name(f"{path.name}{_HOLDER_SUFFIX}")


def _soft_file(path: Path) -> Path:
    return path.with_name(f"{path.name}{_SOFT_SUFFIX}")
