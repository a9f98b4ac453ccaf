"""What follows a run: a `Reporter` gets every event, and `reporter_for` picks one for where the output goes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal, Protocol, TextIO

from onnxbuild.execute.events import Event
from onnxbuild.planning.action_graph import ActionGraph

Mode = Literal["auto", "json", "lines", "quiet"]


class Reporter(Protocol):
    """Gets the events of one run in order, and is closed at its end, whatever the end is."""

    def event(self, event: Event) -> None:
        """Take one event."""

    def close(self) -> None:
        """Give back the terminal."""


class Quiet:
    """Says nothing."""

    def event(self, event: Event) -> None:
        """Take one event."""

    def close(self) -> None:
        """Give back nothing."""


class Both:
    """Tells two reporters."""

    def __init__(self, one: Reporter, other: Reporter) -> None:
        self._both = (one, other)

    def event(self, event: Event) -> None:
        """Take one event."""
        for reporter in self._both:
            reporter.event(event)

    def close(self) -> None:
        """Close both."""
        for reporter in self._both:
            reporter.close()


def reporter_for(
    mode: Mode, stream: TextIO, *, graph: ActionGraph | None = None, environ: Mapping[str, str] = os.environ
) -> Reporter:
    """The reporter for a mode; `auto` is the live view on a terminal that can show it, and lines elsewhere."""
    if mode == "json":
        from onnxbuild.report.progress.jsonl import JsonLines

        return JsonLines(stream)
    if mode == "quiet":
        return Quiet()
    if mode == "auto" and can_redraw(stream, environ):
        from onnxbuild.report.progress.live import Live

        return Live(stream, graph, colour=wants_colour(stream, environ))
    from onnxbuild.report.progress.lines import Lines

    return Lines(stream, graph)


def can_redraw(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the stream is a terminal to draw over; a CI log is none, though some look like one."""
    in_ci = environ.get("CI", "").lower() not in {"", "0", "false"}
    return stream.isatty() and environ.get("TERM", "dumb") != "dumb" and not in_ci


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to colour: a terminal, and no `NO_COLOR` (any value but the empty one, as no-color.org says)."""
    return can_redraw(stream, environ) and not environ.get("NO_COLOR")
