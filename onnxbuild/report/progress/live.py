"""The live view of a run on a terminal: finished actions scroll up, and the running ones are below them.

A frame is drawn at most twice a second and only when its text changes: a benchmark may be running.
`benchmarks/live_view.py` measures its share of a core.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import ConsoleDimensions, Group
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from onnxbuild.execute.events import ActionFinished, ActionProgress, ActionStarted, Event, Outcome, RunStarted
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.progress.frame import STYLES, Running, Screen, frame
from onnxbuild.report.progress.lines import finished_lines
from onnxbuild.report.rich_console import TerminalConsole, painted

_FRAME_SECONDS = 0.5


class LiveView:
    """Holds the lower part of a terminal from the first event until `close`."""

    def __init__(
        self,
        stream: TextIO,
        graph: ActionGraph | None = None,
        *,
        colour: bool = False,
        clock: Callable[[], float] = time.monotonic,
        size: Callable[[], tuple[int, int]] | None = None,
        timer: bool = True,
    ) -> None:
        """Draw on `stream`; `size` gives columns and rows, `timer=False` leaves drawing to calls of `draw`."""
        self._graph, self._clock, self._size = graph, clock, size
        self._console = TerminalConsole(stream, colour=colour)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._unicode = (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
        self._lock = threading.RLock()
        self._running: dict[str, Running] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._counts: dict[str, int] = {}
        self._total = 0
        self._start = clock()
        self._drawn: list[Text] = []
        self._columns = 0  # of the terminal when the last frame was drawn
        self._stop = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._tick, name="live view", daemon=True) if timer else None

    def event(self, event: Event) -> None:
        """Take one event; a finished action is written at once, the rest waits for the next frame."""
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
        """Draw one frame over the last one, if it differs from it."""
        with self._lock:
            if self._closed or not self._live.is_started:
                return
            lines = self._frame()
            if lines != self._drawn or self._console.width != self._columns:
                self._show(lines)

    def close(self) -> None:
        """Erase the frame and show the cursor again; safe to call twice, and called at exit."""
        self._stop.set()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(OSError, ValueError):
                self._live.stop()
        atexit.unregister(self.close)
        if self._thread and self._thread.is_alive():
            self._thread.join(timeout=1)

    def _begin(self) -> None:
        if self._live.is_started or self._closed:
            return
        atexit.register(self.close)
        with self._ending_with_the_terminal():
            self._live.start()
        if self._thread:
            with contextlib.suppress(RuntimeError):  # no more threads: each event still draws a frame
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
        # Hits are counted, not listed: a run with three built actions in ten thousand would scroll those away.
        lines = [] if outcome.outcome == "hit" else finished_lines(outcome, self._graph, self._outcomes)
        if lines and not self._closed:
            self._print(outcome, lines)

    def _print(self, outcome: Outcome, lines: list[str]) -> None:
        """Write lines above the frame."""
        name, blank, rest = lines[0].partition(" ")
        head = [(name, STYLES.get(outcome.outcome, "")), (blank + rest, "")]
        self._show(self._frame(), above=painted(head, lines[1:], self._console))

    def _frame(self) -> list[Text]:
        if self._size is not None:
            self._console.size = ConsoleDimensions(*self._size())
        screen = Screen(width=self._console.width, height=self._console.height, unicode=self._unicode)
        running = list(self._running.values())
        return frame(running, self._counts, self._total, now=self._clock(), start=self._start, screen=screen)

    def _show(self, lines: list[Text], above: list[Text] | None = None) -> None:
        # The console writes once, at the end of its `with`: a terminal never shows half a frame.
        with self._ending_with_the_terminal(), self._console:
            self._erase_wrapped_rows()
            self._live.update(Group(*lines), refresh=True)
            if above is not None:
                self._console.print(*above, sep="\n")
        self._drawn, self._columns = lines, self._console.width

    def _erase_wrapped_rows(self) -> None:
        """Erase the rows that the last frame takes beyond one per line since the terminal has become narrower.

        rich erases one row per line that it drew.
        """
        columns = max(self._console.width, 1)
        if columns >= self._columns:
            return
        extra = sum(max(-(-line.cell_len // columns), 1) - 1 for line in self._drawn)
        erase, up = (ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)
        self._console.control(Control(ControlType.CARRIAGE_RETURN, *[erase, up] * extra))

    @contextlib.contextmanager
    def _ending_with_the_terminal(self) -> Iterator[None]:
        """If the terminal is gone (closed window, closed pipe), the build continues without a view."""
        try:
            yield
        except (OSError, ValueError):
            self._closed = True
            self._stop.set()

    def _tick(self) -> None:
        while not self._stop.wait(_FRAME_SECONDS):
            self.draw()
