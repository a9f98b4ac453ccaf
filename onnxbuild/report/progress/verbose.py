"""The lines of a verbose run: those of a log, with the place of each action's own log."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from onnxbuild.execute.events import ActionFinished, Event
from onnxbuild.execute.policy import log_file
from onnxbuild.report.progress.reporter import Reporter
from onnxbuild.report.wording import path_from_here


class WithLogs:
    """Passes events on and, after each action that ran, writes the path of its log."""

    def __init__(self, reporter: Reporter, stream: TextIO, folder: Path) -> None:
        """Write to `stream`; `folder` holds the logs."""
        self._reporter, self._stream, self._folder = reporter, stream, folder

    def event(self, event: Event) -> None:
        """Receive one event."""
        self._reporter.event(event)
        if isinstance(event, ActionFinished) and event.outcome.outcome in {"built", "unchanged", "failed"}:
            log = path_from_here(log_file(self._folder, event.outcome.id))
            print(f"{'':<9} log: {log}", file=self._stream, flush=True)

    def close(self) -> None:
        """Close the reporter."""
        self._reporter.close()
