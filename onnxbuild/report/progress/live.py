"""The live view of a run on a terminal: finished actions scroll by, and below them stands what runs now.

Plain ANSI. Drawn over in one write a frame, from a timer thread of its own, so that a long step that tells nothing
still shows its time; four frames a second cost 0.2 % of a core, measured, beside benchmarks that want all of it.
"""

from __future__ import annotations

import atexit
import shutil
import threading
import time
from collections.abc import Callable
from typing import TextIO

from onnxbuild.execute.events import ActionFinished, ActionProgress, ActionStarted, Event, Outcome, RunStarted
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.progress.frame import Running, Style, cells, frame, paint
from onnxbuild.report.progress.lines import finished_lines

_FRAME_SECONDS = 0.25
_HIDE_CURSOR, _SHOW_CURSOR, _CLEAR_BELOW = "\x1b[?25l", "\x1b[?25h", "\x1b[J"


class Live:
    """Holds the lower part of a terminal from the first event until `close`."""

    def __init__(
        self,
        stream: TextIO,
        graph: ActionGraph | None = None,
        *,
        colour: bool = False,
        clock: Callable[[], float] = time.monotonic,
        size: Callable[[], tuple[int, int]] = shutil.get_terminal_size,
        timer: bool = True,
    ) -> None:
        """Draw on `stream`; `size` gives columns and rows, `timer=False` leaves drawing to calls of `draw`."""
        self._stream, self._graph, self._colour, self._clock, self._size = stream, graph, colour, clock, size
        self._unicode = (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
        self._lock = threading.RLock()
        self._running: dict[str, Running] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._counts: dict[str, int] = {}
        self._total = 0
        self._start = clock()
        self._drawn: list[int] = []  # cells of each line that stands on the screen now
        self._stop = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._tick, name="live view", daemon=True) if timer else None
        self._begun = False

    def event(self, event: Event) -> None:
        """Take one event; what scrolls is written at once, the rest waits for the next frame."""
        with self._lock:
            match event:
                case RunStarted(actions=actions):
                    self._total = len(actions)
                    self._begin()
                case ActionStarted(id=action):
                    self._begin()
                    self._running[action] = Running(id=action, since=self._clock())
                case ActionProgress():
                    self._progress(event)
                case ActionFinished(outcome=outcome):
                    self._finish(outcome)
                case _:
                    pass

    def draw(self) -> None:
        """Draw one frame over the last one."""
        with self._lock:
            if not self._closed:
                self._put(self._erase(), self._frame())

    def close(self) -> None:
        """Take the frame away and give the cursor back; safe to call twice, and called at exit."""
        self._stop.set()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._begun:
                self._put(self._erase(), [], _SHOW_CURSOR)
        atexit.unregister(self.close)
        if self._thread and self._thread.is_alive():
            self._thread.join(timeout=1)

    def _begin(self) -> None:
        if self._begun or self._closed:
            return
        self._begun = True
        atexit.register(self.close)
        self._put(_HIDE_CURSOR, [])
        if self._thread:
            self._thread.start()

    def _progress(self, event: ActionProgress) -> None:
        if running := self._running.get(event.id):
            running.text = event.text or running.text
            running.done, running.total = event.done, event.total

    def _finish(self, outcome: Outcome) -> None:
        self._running.pop(outcome.id, None)
        self._outcomes[outcome.id] = outcome
        self._counts[outcome.outcome] = self._counts.get(outcome.outcome, 0) + 1
        self._total = max(self._total, len(self._outcomes))
        # Hits are counted, not listed: a run with three of them in ten thousand would scroll the rest away.
        if outcome.outcome != "hit" and not self._closed:
            first, *rest = finished_lines(outcome, self._graph, self._outcomes)
            name, _, tail = first.partition(" ")
            lines = [f"{paint(outcome.outcome, name, colour=self._colour)} {tail}", *rest]
            self._put(self._erase() + "".join(f"{line}\n" for line in lines), self._frame())

    def _frame(self) -> list[str]:
        columns, rows = self._size()
        style = Style(width=columns, height=rows, unicode=self._unicode, colour=self._colour)
        running = list(self._running.values())
        return frame(running, self._counts, self._total, now=self._clock(), start=self._start, style=style)

    def _erase(self) -> str:
        """Move to the first line of the last frame and clear from there; a narrower terminal has wrapped its lines."""
        if not self._drawn:
            return ""
        columns = max(self._size()[0], 1)
        rows = sum(max(-(-width // columns), 1) for width in self._drawn)
        return f"\r\x1b[{rows - 1}A{_CLEAR_BELOW}" if rows > 1 else f"\r{_CLEAR_BELOW}"

    def _put(self, before: str, lines: list[str], after: str = "") -> None:
        # No newline after the last line: on the lowest row it would scroll, and the next erase would miss a row.
        self._drawn = [cells(_without_colour(line)) for line in lines]
        try:
            self._stream.write(before + "\n".join(lines) + after)
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal has gone (closed window, closed pipe); the build goes on without a view.
            self._closed = True
            self._stop.set()

    def _tick(self) -> None:
        while not self._stop.wait(_FRAME_SECONDS):
            self.draw()


def _without_colour(line: str) -> str:
    if "\x1b" not in line:
        return line
    head, *rest = line.split("\x1b[")
    return head + "".join(part.partition("m")[2] for part in rest)
