"""The last outcome of each action of a manifest, as the store remembers it: read at the start, written during a run."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from msgspec import structs

from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Last, Ran, Trace

_RAN = frozenset({"built", "unchanged", "failed"})  # the outcomes of an action whose worker ran


class LastOutcomes:
    """The last outcomes before this run, and those of this run that have changed."""

    def __init__(self, store: Store, scope: str) -> None:
        self._store, self._scope = store, scope
        self._before = dict(store.traces.last(scope))
        self._unsaved: dict[str, Last] = {}

    def trace(self, name: str) -> Trace | None:
        """The trace of an action's last success before this run, if the store still has it."""
        last = self._before.get(name)
        return self._store.traces.find(last.key) if last is not None and last.key is not None else None

    def has_failed(self, name: str) -> bool:
        """Whether the last run of an action's worker failed."""
        last = self._before.get(name)
        return last is not None and last.ran is not None and last.ran.outcome == "failed"

    def ran(self, name: str, key: str) -> bool:
        """Whether the last run of an action's worker succeeded with this key; True if stores of old do not say it."""
        last = self._before.get(name)
        if last is None or last.ran is None:
            return last is not None and last.key == key
        return last.ran.key == key

    def began(self, name: str) -> None:
        """Remember that an upload begins: if this process ends before it, nobody knows what is at its destination.

        What a receipt says of uploads no longer holds either.
        """
        with contextlib.suppress(OSError):  # then the upload cannot keep its result either
            self._store.traces.renew()
        before = self._before.get(name, Last(key=None, outcome="skipped"))
        ran = Ran(outcome="failed", seconds=0.0, at=time.time(), message="it was not finished")
        self._before[name] = self._unsaved[name] = structs.replace(before, ran=ran)
        self.save()

    def note(self, outcome: Outcome) -> None:
        """Remember an outcome, and save at once if its action has run."""
        before = self._before.get(outcome.id)
        last = _last_of(outcome, before)
        if before is None or _remembered(before) != _remembered(last):
            self._unsaved[outcome.id] = last
        if outcome.outcome in _RAN:
            self.save()

    def save(self) -> None:
        """Write the outcomes that have changed since the last call."""
        if self._unsaved and not self._store.readonly:
            self._store.traces.note(self._scope, self._unsaved)
        self._unsaved = {}


def _remembered(last: Last) -> tuple[Any, ...]:
    """What a later run can show of an outcome: where nothing of it is new, nothing is written."""
    return last.key, last.outcome, last.message, last.facts, last.ran


def _last_of(outcome: Outcome, before: Last | None) -> Last:
    """What is remembered of an outcome; the key of the last success survives a failure."""
    key = outcome.key if outcome.outcome in SUCCEEDED else (before.key if before else None)
    reasons = tuple({"part": r.part, "old": r.old, "new": r.new} for r in outcome.reasons)
    message = f"{outcome.failure.code} {outcome.failure.message}" if outcome.failure else None
    facts = outcome.failure.facts if outcome.failure else {}
    ran = _ran(outcome, message) if outcome.outcome in _RAN else (before.ran if before else None)
    return Last(key=key, outcome=outcome.outcome, reasons=reasons, message=message, facts=facts, ran=ran)


def _ran(outcome: Outcome, message: str | None) -> Ran:
    key = outcome.key if outcome.outcome in SUCCEEDED else None
    return Ran(outcome=outcome.outcome, seconds=outcome.seconds, at=time.time(), key=key, message=message)
