"""Events for programs: one JSON object per line, and the JSON Schema of those lines.

Fields are added and never renamed. `python -m onnxbuild.report.progress.jsonl` prints the schema, which `make schemas`
writes to `schemas/events.schema.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TextIO

import msgspec
from msgspec import Struct

from onnxbuild.execute.events import (
    ActionFinished,
    ActionProgress,
    ActionStarted,
    Event,
    Outcome,
    OutcomeName,
    Reason,
    RunFinished,
    RunStarted,
)
from onnxbuild.protocol import Failure, json_text
from onnxbuild.publishing.planned_upload import PlannedUpload


class ActionLine(Struct, frozen=True, kw_only=True, tag="action", tag_field="event"):
    """How one action ended; in a plan `outcome` is `hit` or `run`."""

    id: str
    kind: str
    outcome: OutcomeName
    reasons: tuple[Reason, ...] = ()
    seconds: float = 0.0
    facts: Mapping[str, Any] = {}
    outputs: Mapping[str, str] = {}
    key: str | None = None
    failure: Failure | None = None
    blocked_by: str | None = None
    log: str | None = None


class SummaryLine(Struct, frozen=True, kw_only=True, tag="summary", tag_field="event"):
    """The last line: the number of actions, the number per outcome, and which failed.

    `undelivered`: the reason for each output folder that could not be written, which makes a run fail, too.
    """

    actions: int
    counts: Mapping[str, int]
    failed: tuple[str, ...]
    seconds: float
    interrupted: bool = False
    undelivered: Mapping[str, str] = {}


Line = RunStarted | ActionStarted | ActionProgress | ActionLine | PlannedUpload | SummaryLine


class JsonLines:
    """Writes each event at once as one line of JSON, so that a program that reads along is never behind."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream

    def event(self, event: Event) -> None:
        """Write one line."""
        self._stream.write(encode(line_of(event)) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def line_of(event: Event) -> Line:
    """The line for an event."""
    match event:
        case ActionFinished(outcome=outcome):
            return action_line(outcome)
        case RunFinished():
            line = summary_line(event.outcomes.values(), event.seconds, interrupted=event.interrupted)
            return msgspec.structs.replace(line, undelivered=event.undelivered)
        case _:
            return event


def action_line(outcome: Outcome) -> ActionLine:
    """The line for an outcome, whose fields it holds directly."""
    return ActionLine(**{name: getattr(outcome, name) for name in ActionLine.__struct_fields__})


def summary_line(outcomes: Iterable[Outcome], seconds: float = 0.0, *, interrupted: bool = False) -> SummaryLine:
    """The closing line of a run or a plan."""
    counts: dict[str, int] = {}
    failed: list[str] = []
    for outcome in outcomes:
        counts[outcome.outcome] = counts.get(outcome.outcome, 0) + 1
        if outcome.outcome == "failed":
            failed.append(outcome.id)
    return SummaryLine(
        actions=sum(counts.values()), counts=counts, failed=tuple(failed), seconds=seconds, interrupted=interrupted
    )


def events_text(outcomes: Mapping[str, Outcome], uploads: Iterable[PlannedUpload] = ()) -> str:
    """The lines of outcomes that are all known at once, of what uploads would change, and their summary."""
    lines: list[Line] = [*map(action_line, outcomes.values()), *uploads, summary_line(outcomes.values())]
    return "".join(f"{encode(line)}\n" for line in lines)


def encode(line: Line) -> str:
    """One line, without a line break. A number that JSON does not have (NaN, infinity) becomes null."""
    return json_text(line)


def events_schema() -> dict[str, Any]:
    """The JSON Schema of one line of `run --json` or `plan --json`."""
    schema = msgspec.json.schema(Line, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of `onnxbuild run --json` and `onnxbuild plan --json`",
        **schema,
    }


def events_schema_text() -> str:
    """The text of `schemas/events.schema.json`."""
    return msgspec.json.format(msgspec.json.encode(events_schema()), indent=2).decode() + "\n"


if __name__ == "__main__":
    print(events_schema_text(), end="")
