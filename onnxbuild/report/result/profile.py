"""Where the time of a run went: a Chrome trace for `--profile`, and the critical path for its last line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxbuild.execute.events import ActionFinished, ActionProgress, ActionStarted, Event, Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.protocol import json_text
from onnxbuild.report.named_files import write_named
from onnxbuild.report.wording import seconds_in_words
from onnxbuild.secrets import redacted

_SHORTEST = 0.05  # seconds; a shorter step would be shown as 0.0s


class Profile:
    """A reporter that records when actions ran; `write` makes the file that chrome://tracing and Perfetto open.

    Each action is a slice in the lane of the slot in which it ran; its progress texts are instants in the same lane.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lanes: list[str | None] = []
        self._open: dict[str, tuple[int, float, str]] = {}
        self._slices: list[Mapping[str, Any]] = []

    def event(self, event: Event) -> None:
        """Receive one event."""
        now = time.monotonic()
        if isinstance(event, ActionStarted):
            self._open[event.id] = (self._lane(event.id), now, event.kind)
        elif isinstance(event, ActionProgress) and event.id in self._open:
            lane, _, kind = self._open[event.id]
            self._slices.append(self._slice("i", event.text, kind, lane, now) | {"s": "t"})
        elif isinstance(event, ActionFinished) and event.outcome.id in self._open:
            self._close(event.outcome, now)

    def close(self) -> None:
        """There is nothing to give back."""

    def write(self, path: Path) -> None:
        """Write the trace. Errors: OSError, also for a file that onnxbuild has not written."""
        text = redacted(json_text({"traceEvents": self._slices, "displayTimeUnit": "ms"}))
        write_named(path, text)

    def _lane(self, action_id: str) -> int:
        free = next((number for number, user in enumerate(self._lanes) if user is None), len(self._lanes))
        self._lanes[free : free + 1] = [action_id]
        return free

    def _close(self, outcome: Outcome, now: float) -> None:
        lane, began, kind = self._open.pop(outcome.id)
        self._lanes[lane] = None
        arguments = {
            "outcome": outcome.outcome,
            "worker_seconds": outcome.seconds,
            "reasons": [reason.part for reason in outcome.reasons],
        }
        entry = self._slice("X", outcome.id, kind, lane, began)
        self._slices.append({**entry, "dur": round((now - began) * 1e6), "args": arguments})

    def _slice(self, phase: str, name: str, category: str, lane: int, at: float) -> dict[str, Any]:
        microseconds = round((at - self._began) * 1e6)
        return {"ph": phase, "name": name, "cat": category, "pid": 1, "tid": lane + 1, "ts": microseconds}


def critical_path(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> tuple[str, ...]:
    """The chain of actions, each of which needs the one before, with the largest sum of running times."""
    # networkx has this too, but its import took 107 ms at the end of every build: three times all the rest of it.
    ends: dict[str, float] = {}  # seconds of the longest chain that ends with an action
    before: dict[str, str | None] = {}
    for name, action in graph.actions.items():  # each comes after all that it needs
        longest = max(action.needs, key=ends.__getitem__, default=None)
        before[name] = longest
        ends[name] = outcomes[name].seconds + (ends[longest] if longest is not None else 0.0)
    path: list[str] = []
    at = max(ends, key=ends.__getitem__, default=None)
    while at is not None:
        path.append(at)
        at = before[at]
    return tuple(name for name in reversed(path) if outcomes[name].seconds >= _SHORTEST)


def critical_path_in_words(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> str | None:
    """One line for the end of a run; None if no two actions ran one after the other."""
    path = critical_path(graph, outcomes)
    if len(path) < 2:  # noqa: PLR2004 - one action is no path
        return None
    steps = " → ".join(f"{name} {seconds_in_words(outcomes[name].seconds)}" for name in path)
    return f"critical path: {steps}"
