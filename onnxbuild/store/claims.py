"""Claims: what a run at work relies on, so that a collection beside it takes none of it.

Constraints: a run neither waits for a collection for longer than it deletes, nor fails because of one; a collection
frees what can be freed also while runs of hours go on; a run that died claims nothing; a look-up stays cheap.

How: a run writes the key of each result that it took or made into a file of its own. It does so under a shared lock,
together with the look-up, or with the publishing of content and its trace, that the claim belongs to. A collection
holds that lock alone while it decides and deletes. So it never sees the middle of anything: content without the trace
that is about to name it, or a look-up that answered and has not said so. It keeps what runs at work have claimed.

Layout, below the store's root: `gc.lock`, never removed; `work/<run>/claims`, a key a line. Weighed and set aside: a
time of last use in the traces' database (a write for each look-up), and sparing all that is older than the oldest run
(a run may be about to take any old result, so that nothing could be freed).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from onnxbuild.store import locks

_LOOK_AGAIN_SECONDS = 0.02


class Claims:
    """The claims of one run. `place` gives the run's working folder, once there is something to claim."""

    def __init__(self, root: Path, place: Callable[[], Path]) -> None:
        self._path, self._place = root / "gc.lock", place
        self._mutex = threading.Lock()
        self._inside = 0  # threads of this process between `enter` and `leave`; they share one lock
        self._lock: int | None = None
        self._file: int | None = None

    @contextlib.contextmanager
    def section(self) -> Iterator[None]:
        """No collection decides or deletes while the body runs."""
        with self._mutex:
            if self._inside == 0:
                if self._lock is None:
                    self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                fcntl.flock(self._lock, fcntl.LOCK_SH)
            self._inside += 1
        try:
            yield
        finally:
            self._leave()

    def add(self, key: str) -> None:
        """Claim the result with this key; inside a section. Where it cannot be written down, no section ends."""
        with self._mutex:
            try:
                if self._file is None:
                    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                    self._file = os.open(self._place() / "claims", flags, 0o666)
                os.write(self._file, f"{key}\n".encode())
            except OSError:
                # A full disk must not end a run that has nothing to write: a collection waits for this run instead.
                self._inside += 1

    def close(self) -> None:
        """Give everything back."""
        with self._mutex:
            for descriptor in (self._lock, self._file):
                if descriptor is not None:
                    os.close(descriptor)
            self._lock = self._file = None
            self._inside = 0

    def _leave(self) -> None:
        with self._mutex:
            self._inside -= 1
            if self._inside == 0 and self._lock is not None:
                fcntl.flock(self._lock, fcntl.LOCK_UN)


@contextlib.contextmanager
def alone(root: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[frozenset[str]]:
    """No run looks up or publishes while the body runs; gives the keys that runs at work have claimed.

    Calls `on_wait` once where it has to wait for a run that is publishing. Errors: OSError.
    """
    descriptor = os.open(root / "gc.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        told = False
        while not _taken(descriptor):
            if not told:
                on_wait()
                told = True
            time.sleep(_LOOK_AGAIN_SECONDS)
        yield frozenset(_claimed(root))
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _claimed(root: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        for place in (root / "work").iterdir():
            if locks.is_held(place / "owner"):
                with contextlib.suppress(FileNotFoundError):
                    yield from (place / "claims").read_text(encoding="utf-8").split()
