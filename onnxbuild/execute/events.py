"""What a run tells while it goes on, and the outcomes that an action can have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from onnxbuild.protocol import Failure

# hit: found in the store; built: ran, new result; unchanged: ran, same result as before; failed: ran without a result;
# blocked: needs what failed; skipped: not begun because the run stopped. A plan says hit or run.
OutcomeName = Literal["hit", "built", "unchanged", "failed", "blocked", "skipped", "run"]

# The outcomes that leave a result to go on with.
SUCCEEDED = frozenset({"hit", "built", "unchanged"})


class Reason(Struct, frozen=True):
    """One part of a key that differs from the last trace. `part` is a path such as `params.preset`."""

    part: str
    old: Any = None
    new: Any = None


class Outcome(Struct, frozen=True, kw_only=True):
    """How one action ended: what a report prints and `--json` writes."""

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
    """The first event: how many actions there are, of which kinds."""

    actions: tuple[str, ...]
    jobs: int


class ActionStarted(Struct, frozen=True, kw_only=True, tag="started", tag_field="event"):
    """An action has been given to a worker."""

    id: str
    kind: str
    reasons: tuple[Reason, ...] = ()


class ActionProgress(Struct, frozen=True, kw_only=True, tag="progress", tag_field="event"):
    """Something happened inside a long step; `text` in words, `done` of `total` where it can be counted."""

    id: str
    text: str = ""
    done: float | None = None
    total: float | None = None


class ActionFinished(Struct, frozen=True, kw_only=True, tag="action", tag_field="event"):
    """An action has ended, or needed not begin."""

    outcome: Outcome


class RunFinished(Struct, frozen=True, kw_only=True, tag="summary", tag_field="event"):
    """The last event: every outcome by id, wall seconds of the whole, whether it was interrupted."""

    outcomes: Mapping[str, Outcome]
    seconds: float
    interrupted: bool = False


Event = RunStarted | ActionStarted | ActionProgress | ActionFinished | RunFinished
