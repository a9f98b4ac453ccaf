"""Locks between processes, held by the kernel: one that died holds none, so there is no unlock command.

A lock is `flock` on a file that names its holder. The file is removed on release while the lock is still held; who
opened it meanwhile finds another inode (or none) under the name and opens again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct, json

# How often a waiter looks again. It could block in flock, but then Ctrl-C and a time limit would not reach it.
_LOOK_AGAIN_SECONDS = 0.05


class Holder(Struct, frozen=True):
    """Who holds a lock: process id, command line, since when (seconds since the epoch)."""

    pid: int
    command: str
    since: float


class Waiting(Exception):  # noqa: N818 - a state that callers ask about, not an error
    """Raised by `hold` when the lock is taken and waiting was not asked for."""


@contextlib.contextmanager
def hold(
    path: Path, *, on_wait: Callable[[Holder | None], None] | None = None, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Hold the lock `path`; while another process has it, call `on_wait` once with the holder and wait.

    Errors: `Waiting` where `on_wait` is None and the lock is taken, or when `cancelled` becomes true.
    """
    descriptor = _acquire(path)
    if descriptor is None and on_wait is None:
        raise Waiting(str(path))
    if descriptor is None and on_wait is not None:
        on_wait(holder(path))
    while descriptor is None:
        if cancelled():
            raise Waiting(str(path))
        time.sleep(_LOOK_AGAIN_SECONDS)
        descriptor = _acquire(path)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.encode(Holder(os.getpid(), " ".join(sys.argv), time.time())), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock; asks without taking it for longer than the question."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(path: Path) -> Holder | None:
    """Who holds the lock, as far as the file tells (it may be written at this moment)."""
    try:
        return json.decode(path.read_bytes(), type=Holder)
    except (OSError, ValueError):
        return None


def _acquire(path: Path) -> int | None:
    """A descriptor that holds the lock, or None where another process does."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        if _is_current(descriptor, path):
            return descriptor
        os.close(descriptor)


def _is_current(descriptor: int, path: Path) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return (mine.st_ino, mine.st_dev) == (there.st_ino, there.st_dev)
