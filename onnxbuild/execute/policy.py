"""How a run is to go, how it is ended early, and what the threads that do its actions report."""

from __future__ import annotations

import queue
from pathlib import Path

from msgspec import Struct

from onnxbuild.execute.events import ActionProgress, Outcome
from onnxbuild.store.content import DamagedBlob


class Policy(Struct, frozen=True, kw_only=True):
    """How to run. `jobs`: actions at once; `scope`: the manifest's identity in the store, for reasons."""

    scope: str
    logs: str  # folder that receives the workers' logs
    jobs: int = 1
    memory_bytes: float = float("inf")  # estimates of actions that run together stay below this
    force: frozenset[str] = frozenset()  # ids that run whatever is stored
    fail_fast: bool = False
    attempts: int = 3  # of actions whose failure is transient
    backoff_seconds: float = 1.0
    timeout_seconds: float | None = None  # for every action, instead of its own


class Done(Struct, frozen=True):
    """How an action ended; `damaged` where it could not begin because a stored input is not what it should be."""

    outcome: Outcome
    damaged: DamagedBlob | None = None


class Interrupt:
    """Lets a signal handler end a run: `request` may be called from anywhere, also from a handler."""

    def __init__(self) -> None:
        self.requested = False
        self.inbox: queue.SimpleQueue[Done | ActionProgress | None] = queue.SimpleQueue()

    def request(self) -> None:
        """Ask the run to end its workers and stop."""
        self.requested = True
        self.inbox.put(None)


def log_file(folder: Path, action: str) -> Path:
    """The log of an action's last run."""
    return folder / f"{action.replace('/', '-').replace(':', '-')}.txt"
