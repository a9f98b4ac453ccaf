"""The events of a run, and the outcomes that an action can have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from onnxbuild.protocol import Failure

# hit: the store had the result; built: ran, with a new result; unchanged: ran, with the same result as before; failed:
# no result; blocked: depends on a failed action; skipped: not started, or stopped, because the run ended early. A plan
# has hit, run, and failed for inputs that cannot be read.
OutcomeName = Literal["hit", "built", "unchanged", "failed", "blocked", "skipped", "run"]

# The outcomes with a result.
SUCCEEDED = frozenset({"hit", "built", "unchanged"})


class Reason(Struct, frozen=True):
    """One part of a key that differs from the last trace. `part` is a path such as `params.preset`."""

    part: str
    old: Any = None
    new: Any = None


class Outcome(Struct, frozen=True, kw_only=True):
    """How one action ended: reports print it and `--json` writes it."""

    id: str
    kind: str
    outcome: OutcomeName
    reasons: tuple[Reason, ...] = ()
    seconds: float = 0.0
    facts: Mapping[str, Any] = {}
    outputs: Mapping[str, str] = {}  # port → tree digest
    key: str | None = None
    failure: Failure | None = None
    blocked_by: str | None = None
    log: str | None = None


class RunStarted(Struct, frozen=True, kw_only=True, tag="start", tag_field="event"):
    """The first event: the ids of all actions, and how many jobs may run at the same time."""

    actions: tuple[str, ...]
    jobs: int


class ActionStarted(Struct, frozen=True, kw_only=True, tag="started", tag_field="event"):
    """An action has been given to a worker."""

    id: str
    kind: str
    reasons: tuple[Reason, ...] = ()


class ActionProgress(Struct, frozen=True, kw_only=True, tag="progress", tag_field="event"):
    """Progress of a long step: `text` in words, and `done` of `total` where it can be counted."""

    id: str
    text: str = ""
    done: float | None = None
    total: float | None = None


class ActionFinished(Struct, frozen=True, kw_only=True, tag="action", tag_field="event"):
    """An action has finished, or did not have to start."""

    outcome: Outcome


class RunFinished(Struct, frozen=True, kw_only=True, tag="summary", tag_field="event"):
    """The last event: every outcome by id, the wall-clock seconds of the run, and whether it was interrupted.

    `undelivered`: the reason for each output folder that could not be written.
    """

    outcomes: Mapping[str, Outcome]
    seconds: float
    interrupted: bool = False
    undelivered: Mapping[str, str] = {}


Event = RunStarted | ActionStarted | ActionProgress | ActionFinished | RunFinished
