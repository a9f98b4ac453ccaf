"""Locks between processes that name their holders. A process that died holds none, so no unlock command is needed."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct, json

from onnxbuild.secrets import shown_command
from onnxbuild.store.files import entries_of, is_real_file
from onnxbuild.store.locking.file_lock import HeldLock, is_locked, lock_of, read_holder, take_lock

# How often a waiting process tries again. It could block in the system call, but then Ctrl-C and a time limit would
# not reach it.
_RETRY_SECONDS = 0.05

# The locks in a store's folder of them: of a key, of a toolchain, of an output folder; then our suffixes.
_NAME = re.compile(r"(toolchain-|out-)?[0-9a-f]{64}(\.soft|\.holder)?")


class Holder(Struct, frozen=True):
    """The process that holds a lock: its id, its command line, and since when (seconds since the epoch)."""

    pid: int
    command: str
    since: float


class Waiting(Exception):  # noqa: N818 - a state that callers ask about, not an error
    """Raised by `hold` when another process holds the lock and the caller does not wait."""


@contextlib.contextmanager
def hold(
    path: Path, *, on_wait: Callable[[Holder | None], None] | None = None, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Hold the lock `path`. While another process has it, call `on_wait` once with the holder, and wait.

    Errors: `Waiting` if another process has the lock and `on_wait` is None, or when `cancelled` becomes true.
    """
    lock = take_lock(path)
    if lock is None and on_wait is None:
        raise Waiting(str(path))
    if lock is None and on_wait is not None:
        on_wait(holder(path))
    while lock is None:
        if cancelled():
            raise Waiting(str(path))
        time.sleep(_RETRY_SECONDS)
        lock = take_lock(path)
    with _released(lock):
        lock.write(json.encode(Holder(os.getpid(), _this_command(), time.time())))
        yield


def _this_command() -> str:
    """The command line of this process, with the name of the program in place of its path."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shown_command([name, *sys.argv[1:]])


@contextlib.contextmanager
def _released(lock: HeldLock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    return is_locked(path)


def holder(path: Path) -> Holder | None:
    """The process that holds the lock, or None if it has not written down its name."""
    try:
        return json.decode(read_holder(path), type=Holder)
    except (OSError, ValueError):
        return None


def remove_unheld(folder: Path) -> None:
    """Remove the lock files that dead processes left in a folder. Files that are not locks of a store stay."""
    files = [path for path in entries_of(folder) if _NAME.fullmatch(path.name) and is_real_file(path)]
    for path in sorted({lock_of(path) for path in files}):
        # Taking a lock and releasing it removes its files.
        with contextlib.suppress(Waiting, FileNotFoundError, PermissionError), hold(path):
            pass
