"""Claims: the results that a run in progress relies on, so that a collection at the same time removes none of them.

Constraints: a run waits for a collection no longer than the collection deletes, and never fails because of one; a
collection can free space while runs of several hours go on; a run that died claims nothing; a lookup stays cheap.

How it works: a run appends the key of each result that it took or made to its own file. It does so under a shared lock,
together with the lookup, or with the publishing of content and its trace, that the claim belongs to. A collection holds
that lock alone while it decides and deletes. So it never sees an intermediate state: content without the trace that is
about to name it, or a lookup that has succeeded and is not yet claimed. It keeps the results that runs in progress have
claimed.

Layout, below the store's root: `gc.lock`, never removed; `work/<run>/claims`, one key per line. Alternatives that were
rejected: a time of last use in the database of traces (one write per lookup), and keeping everything that is older
than the oldest run (a run may be about to take any old result, so nothing could be freed).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from onnxbuild.regular_files import descriptor_of, read_regular
from onnxbuild.store import locks
from onnxbuild.store.group_access import grant_as_folder
from onnxbuild.store.locking.shared_lock import SharedLock, hold_alone
from onnxbuild.store.working_folders import working_folders

_LOCK = "gc.lock"
_MOST_BYTES = 64 << 20  # a million keys; a file of more is none of ours


class Claims:
    """The claims of one run. `place` returns the run's working folder, once there is something to claim."""

    def __init__(self, root: Path, place: Callable[[], Path]) -> None:
        self._place = place
        self._mutex = threading.Lock()
        self._inside = 0  # threads of this process inside a section; they share one lock
        self._lock = SharedLock(root / _LOCK)
        self._file: int | None = None

    @contextlib.contextmanager
    def section(self) -> Iterator[None]:
        """No collection decides or deletes while the body runs."""
        with self._mutex:
            if self._inside == 0:
                self._lock.acquire()
            self._inside += 1
        try:
            yield
        finally:
            self._leave()

    def add(self, key: str) -> None:
        """Claim the result with this key; inside a section. If it cannot be written, the section stays open."""
        with self._mutex:
            try:
                if self._file is None:
                    self._file = _opened(self._place() / "claims")
                os.write(self._file, f"{key}\n".encode())
            except OSError:
                # A full disk must not end a run that has nothing to write: a collection waits for this run instead.
                self._inside += 1

    def close(self) -> None:
        """Give up all claims."""
        with self._mutex:
            self._lock.close()
            if self._file is not None:
                os.close(self._file)
            self._file = None
            self._inside = 0

    def _leave(self) -> None:
        with self._mutex:
            self._inside -= 1
            if self._inside == 0:
                self._lock.release()


def _opened(path: Path) -> int:
    try:
        return descriptor_of(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        pass
    # A collection of another user reads the file as soon as it has its name; Windows renames no open file.
    fresh = path if sys.platform == "win32" else path.with_name(f".{path.name}")
    descriptor = descriptor_of(fresh, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    grant_as_folder(fresh, descriptor)
    if fresh != path:
        fresh.rename(path)
    return descriptor


@contextlib.contextmanager
def alone(root: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[frozenset[str]]:
    """No run looks up or publishes while the body runs; yields the keys that runs in progress have claimed.

    Calls `on_wait` once if it has to wait for a run that is publishing. Errors: OSError.
    """
    with hold_alone(root / _LOCK, on_wait):
        yield claimed_now(root)


def claimed_now(root: Path) -> frozenset[str]:
    """The keys that runs in progress have claimed at this moment; without `alone` they may claim more."""
    return frozenset(_claimed(root))


def _claimed(root: Path) -> Iterator[str]:
    for place in working_folders(root):
        if locks.is_held(place / "owner"):
            with contextlib.suppress(FileNotFoundError):
                yield from read_regular(place / "claims", _MOST_BYTES).decode("ascii", "replace").split()
