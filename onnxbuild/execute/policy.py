"""The policy of a run, the interrupt that ends it early, and the report of the threads that perform its actions."""

from __future__ import annotations

import queue
import re
from pathlib import Path

from msgspec import Struct

from onnxbuild.execute.decide import LACKING
from onnxbuild.execute.events import ActionProgress, Outcome
from onnxbuild.store.content import DamagedBlob


class Policy(Struct, frozen=True, kw_only=True):
    """How to run. `jobs`: actions at the same time; `scope`: the manifest's identity in the store, for reasons."""

    scope: str
    logs: str  # folder that receives the workers' logs
    jobs: int = 1
    memory_bytes: float = float("inf")  # limit for the estimates of actions that run at the same time
    force: frozenset[str] = frozenset()  # ids that run even if the store has their results
    compare: frozenset[str] = frozenset()  # ids of uploads that ask the destination even so
    lacking: frozenset[str] = frozenset()  # ids of uploads whose destination has lost files
    uploads: frozenset[str] = frozenset()  # ids whose results count only if they were the last to run
    own: frozenset[str] = frozenset()  # ids whose results count only if they were made locally
    fail_fast: bool = False
    attempts: int = 3  # for actions whose failure is transient
    backoff_seconds: float = 1.0
    timeout_seconds: float | None = None  # for every action, instead of its own

    def forced_by(self, action: str) -> str:
        """The option that makes an action run whatever is stored, empty for none; or `LACKING`."""
        if action in self.force:
            return "--force"
        return "--check-published" if action in self.compare else LACKING if action in self.lacking else ""


class Done(Struct, frozen=True):
    """How an action ended. `damaged`: the stored input because of which it could not start."""

    outcome: Outcome
    damaged: DamagedBlob | None = None


class Interrupt:
    """Lets a signal handler end a run: `request` may be called from any thread, and from a handler."""

    def __init__(self) -> None:
        self.requested = False
        self.inbox: queue.SimpleQueue[Done | ActionProgress | None] = queue.SimpleQueue()

    def request(self) -> None:
        """Ask the run to end its workers and stop."""
        self.requested = True
        self.inbox.put(None)


# Besides letters and digits, names of models and targets have only these.
_OUTSIDE_NAMES = re.compile(r"[^A-Za-z0-9._/:-]")


def log_file(folder: Path, action: str) -> Path:
    """The log of an action's last run; no two actions share one.

    `+` separates the names, because none of them contains it: with `-`, the logs of `a/b-c` and `a-b/c` would be one.
    """
    name = _OUTSIDE_NAMES.sub(lambda match: f"%{ord(match[0]):x}", action)
    return folder / f"{name.replace('/', '+').replace(':', '+')}.txt"
