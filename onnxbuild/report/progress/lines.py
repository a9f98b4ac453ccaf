"""Plain lines for logs and CI: one per finished action, and an occasional one for the progress of a long step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from onnxbuild.deliver.package_rows import skipped_because
from onnxbuild.execute.events import ActionFinished, ActionProgress, ActionStarted, Event, Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.result.reasons import NEVER_BUILT, why
from onnxbuild.report.wording import on_one_line, printable_lines, seconds_in_words

# Often enough to show that a step is alive, rarely enough that an hour's log stays readable.
PROGRESS_SECONDS = 10.0
_INDENT = " " * 10


class Lines:
    """Writes events as lines; with `graph`, a reason names the action that changed an input."""

    def __init__(
        self, stream: TextIO, graph: ActionGraph | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write to `stream`."""
        self._stream, self._graph, self._clock = stream, graph, clock
        self._outcomes: dict[str, Outcome] = {}
        self._started: dict[str, float] = {}
        self._reported: dict[str, float] = {}

    def event(self, event: Event) -> None:
        """Write the lines for one event, if it has any."""
        match event:
            case ActionStarted(id=action):
                self._started[action] = self._clock()
                self._reported[action] = self._started[action]
            case ActionProgress():
                self._progress(event)
            case ActionFinished(outcome=outcome):
                self._outcomes[outcome.id] = outcome
                self._write(finished_lines(outcome, self._graph, self._outcomes))
            case _:
                pass

    def close(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def _progress(self, event: ActionProgress) -> None:
        now = self._clock()
        if now - self._reported.setdefault(event.id, now) < PROGRESS_SECONDS:
            return
        self._reported[event.id] = now
        elapsed = seconds_in_words(now - self._started.get(event.id, now))
        self._write([f"{'running':<9} {event.id}  {elapsed}  {progress_in_words(event)}".rstrip()])

    def _write(self, lines: list[str]) -> None:
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()


def finished_lines(
    outcome: Outcome, graph: ActionGraph | None = None, outcomes: Mapping[str, Outcome] | None = None
) -> list[str]:
    """How one action ended: a headline, why it ran, its choices and warnings, and the message of a failure.

    A skipped action has no line: the closing line counts what an interrupted run left to do. An action that was never
    built before has no reason worth a line.
    """
    if outcome.outcome == "skipped":
        return []
    needs = skipped_because(outcome)
    head = f"{outcome.outcome if needs is None else 'skipped':<9} {outcome.id}"
    if outcome.outcome in ("built", "unchanged", "failed"):
        reasons = [words for words in why(outcome, graph, outcomes) if words != NEVER_BUILT]
        lacking = [] if needs is None else [needs]
        details = [*reasons, *lacking, *_choices(outcome), *warning_lines(outcome.facts), *_failure(outcome)]
        return [f"{head}  {seconds_in_words(outcome.seconds)}", *(f"{_INDENT}{line}" for line in details)]
    return [f"{head}  (needs {outcome.blocked_by})" if outcome.blocked_by else head]


def _choices(outcome: Outcome) -> list[str]:
    """What a successful step chose and why: its fact `because`."""
    because = outcome.facts.get("because")
    return printable_lines(because) if isinstance(because, str) else []


def warning_lines(facts: Mapping[str, Any]) -> list[str]:
    """One line per text in the fact `warnings`, which comes from a worker and may hold anything."""
    warnings = facts.get("warnings")
    texts = [text for text in warnings if isinstance(text, str)] if isinstance(warnings, list | tuple) else []
    return [f"warning: {on_one_line(text)}" for text in texts]


def _failure(outcome: Outcome) -> list[str]:
    if outcome.failure is None:
        return []
    first, *rest = printable_lines(f"{outcome.failure.code} {outcome.failure.message}")
    return [first, *(f"  {line}" for line in rest)]


def progress_in_words(event: ActionProgress) -> str:
    """`12/80 round 3`: the counts if the step reports them, and its text."""
    text = on_one_line(event.text)
    if event.done is None or not event.total:
        return text
    return f"{event.done:g}/{event.total:g} {text}".rstrip()
