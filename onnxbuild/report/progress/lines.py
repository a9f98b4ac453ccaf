"""Plain lines for logs and CI: one for each action as it ends, and now and then one for a long step's progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from onnxbuild.execute.events import ActionFinished, ActionProgress, ActionStarted, Event, Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.result.reasons import WHOLE, why

# Often enough to see that a step lives, rarely enough that an hour's log can be read.
PROGRESS_SECONDS = 10.0
_INDENT = " " * 10


class Lines:
    """Writes events as lines; `graph` lets a reason name the action that changed an input."""

    def __init__(
        self, stream: TextIO, graph: ActionGraph | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write to `stream`."""
        self._stream, self._graph, self._clock = stream, graph, clock
        self._outcomes: dict[str, Outcome] = {}
        self._started: dict[str, float] = {}
        self._told: dict[str, float] = {}

    def event(self, event: Event) -> None:
        """Write what this event is worth."""
        match event:
            case ActionStarted(id=action):
                self._started[action] = self._told[action] = self._clock()
            case ActionProgress():
                self._progress(event)
            case ActionFinished(outcome=outcome):
                self._outcomes[outcome.id] = outcome
                self._write(finished_lines(outcome, self._graph, self._outcomes))
            case _:
                pass

    def close(self) -> None:
        """Nothing is held back."""
        self._stream.flush()

    def _progress(self, event: ActionProgress) -> None:
        now = self._clock()
        if now - self._told.setdefault(event.id, now) < PROGRESS_SECONDS:
            return
        self._told[event.id] = now
        elapsed = seconds_in_words(now - self._started.get(event.id, now))
        self._write([f"{'running':<9} {event.id}  {elapsed}  {progress_in_words(event)}".rstrip()])

    def _write(self, lines: list[str]) -> None:
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()


def finished_lines(
    outcome: Outcome, graph: ActionGraph | None = None, outcomes: Mapping[str, Outcome] | None = None
) -> list[str]:
    """How one action ended: a line, below it why it ran, what it warns of, and for a failure what was found."""
    head = f"{outcome.outcome:<9} {outcome.id}"
    if outcome.outcome in ("built", "unchanged", "failed"):
        head = f"{head}  {seconds_in_words(outcome.seconds)}"
        reasons = why(outcome, graph, outcomes)
        # In a first build every action has the same reason: a line of its own for each would double the log.
        if len(reasons) == 1 and reasons[0] in WHOLE.values():
            return [f"{head}  ({reasons[0]})", *_told(outcome), *_failure(outcome)]
        return [head, *(f"{_INDENT}{words}" for words in reasons), *_told(outcome), *_failure(outcome)]
    if outcome.blocked_by:
        head = f"{head}  (needs {outcome.blocked_by})"
    return [head]


def _told(outcome: Outcome) -> list[str]:
    """What a step that succeeded chose and why, and what someone should know: its facts `because` and `warnings`."""
    because = outcome.facts.get("because")
    chosen = one_printable_line_each(because) if isinstance(because, str) else []
    return [f"{_INDENT}{line}" for line in (*chosen, *warning_lines(outcome.facts))]


def warning_lines(facts: Mapping[str, Any]) -> list[str]:
    """A line for each of the `warnings` of facts, which come from workers and may be anything."""
    found = facts.get("warnings")
    texts = [text for text in found if isinstance(text, str)] if isinstance(found, list | tuple) else []
    return [f"warning: {' '.join(one_printable_line_each(text))}" for text in texts]


def _failure(outcome: Outcome) -> list[str]:
    if outcome.failure is None:
        return []
    first, *rest = one_printable_line_each(f"{outcome.failure.code} {outcome.failure.message}")
    return [f"{_INDENT}{first}", *(f"{_INDENT}  {line}" for line in rest)]


def one_printable_line_each(text: str) -> list[str]:
    """The lines of a text without control characters, which would move the cursor or recolour the terminal."""
    return ["".join(c if c.isprintable() else " " for c in line) for line in text.splitlines()] or [""]


def seconds_in_words(seconds: float) -> str:
    """A duration as short as it can be read: `0.4s`, `41s`, `3m07s`, `1h02m`."""
    minute, hour, tenths_until = 60, 3600, 10
    if seconds < tenths_until - 0.05:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < minute:
        return f"{whole}s"
    if whole < hour:
        return f"{whole // minute}m{whole % minute:02d}s"
    return f"{whole // hour}h{whole % hour // minute:02d}m"


def progress_in_words(event: ActionProgress) -> str:
    """`12/80 round 3`, as far as a step tells."""
    text = " ".join(one_printable_line_each(event.text))
    if event.done is None or not event.total:
        return text
    return f"{event.done:g}/{event.total:g} {text}".rstrip()
