"""A `Reporter` receives every event of a run; `reporter_for` chooses one for the output stream."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, Protocol, TextIO

from onnxbuild.execute.events import Event
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.terminal import can_redraw, wants_colour

Mode = Literal["auto", "json", "lines", "quiet"]


class Reporter(Protocol):
    """Receives the events of one run in order; it is closed however the run ends."""

    def event(self, event: Event) -> None:
        """Receive one event."""

    def close(self) -> None:
        """Give the terminal back."""


class Quiet:
    """Reports nothing."""

    def event(self, event: Event) -> None:
        """Receive one event."""

    def close(self) -> None:
        """There is nothing to give back."""


class Both:
    """Passes events on to two reporters."""

    def __init__(self, one: Reporter, other: Reporter) -> None:
        self._both = (one, other)

    def event(self, event: Event) -> None:
        """Receive one event."""
        for reporter in self._both:
            reporter.event(event)

    def close(self) -> None:
        """Close both."""
        for reporter in self._both:
            reporter.close()


def reporter_for(
    mode: Mode, stream: TextIO, *, graph: ActionGraph | None = None, environ: Mapping[str, str] = os.environ
) -> Reporter:
    """The reporter for a mode; `auto` is the live view on a terminal that can show it, and plain lines elsewhere."""
    if mode == "json":
        from onnxbuild.report.progress.jsonl import JsonLines

        return JsonLines(stream)
    if mode == "quiet":
        return Quiet()
    if mode == "auto" and can_redraw(stream, environ):
        from onnxbuild.report.progress.live import LiveView

        return LiveView(stream, graph, colour=wants_colour(stream, environ))
    from onnxbuild.report.progress.lines import Lines

    return Lines(stream, graph)
