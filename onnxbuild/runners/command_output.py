"""What a command that creates an environment prints: read with bounds, for a limited time."""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator

from onnxbuild.runners.processes import kill_with_descendants

_SECONDS = 2 * 3600.0  # pip gives up on a silent server by itself, but a package that is built may hang
_LINES = 5000  # the last ones, in which pip says why it failed
_LINE_CHARACTERS = 10_000


def read_to_end(process: subprocess.Popen[str], on_line: Callable[[str], None]) -> str:
    """The last lines that a process prints until it ends; `on_line` gets each line at once.

    A process that runs for hours is killed.
    """
    timer = threading.Timer(_SECONDS, kill_with_descendants, (process.pid,))
    timer.daemon = True
    timer.start()
    kept: deque[str] = deque(maxlen=_LINES)
    try:
        with process:
            for line in _lines(process):
                kept.append(line)
                on_line(line.rstrip("\n"))
    finally:
        timer.cancel()
    return "".join(kept)


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Lines, and pieces of a line that does not end."""
    assert process.stdout is not None, "BUG: a command is started with a pipe"
    while line := process.stdout.readline(_LINE_CHARACTERS):
        yield line
