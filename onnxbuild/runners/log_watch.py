"""Ends an action that prints without end, before its log fills the disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from onnxbuild.protocol import Failure

LOG_BYTES = 512 << 20
_SECONDS = 1.0


class Logging(Protocol):
    """What the watch needs to know about a worker."""

    @property
    def log(self) -> str:
        """The log of the action that it is running; empty if it is idle."""

    def kill(self, why: Failure) -> None:
        """End it."""


class LogWatch:
    """Looks once a second at the logs of the workers that `busy` returns."""

    def __init__(self, busy: Callable[[], Sequence[Logging]]) -> None:
        self._busy, self._stopped = busy, threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if it has not begun yet."""
        if self._thread is None:
            thread = threading.Thread(target=self._watch, name="logs", daemon=True)
            thread.start()  # may fail: what has not begun cannot be joined
            self._thread = thread

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(_SECONDS):
            end_talkative(self._busy())


def end_talkative(workers: Sequence[Logging]) -> None:
    """End the workers whose logs have grown too large."""
    for worker in workers:
        if _size(worker.log) > LOG_BYTES:
            worker.kill(
                Failure(
                    code="OBE74",
                    message=f"the action printed more than {LOG_BYTES >> 20} MB and was stopped",
                    notes=(("hint", "the end of its log shows what it prints"),),
                )
            )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size if path else 0
    except OSError:
        return 0
