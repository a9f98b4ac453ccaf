"""The signals that end a run."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from onnxbuild.execute.policy import Interrupt

# The live view hides the cursor and leaves it behind its last line; a process that exits at once skips the code that
# gives the terminal back.
_GIVE_BACK = b"\r\x1b[2K\x1b[?25h"
_AT_ONCE = b"interrupted: stopped at once; run again to continue\n"


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """SIGINT, SIGTERM and SIGHUP end the run in order; a second one ends the process at once.

    A closed terminal sends SIGHUP. Under `nohup` it is ignored, and stays so.
    """
    interrupt = Interrupt()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if interrupt.requested:
            _leave_the_terminal()
            os._exit(130)  # the workers die with us
        interrupt.request()

    before = {number: signal.signal(number, handle) for number in _signals()}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_the_terminal() -> None:
    """Say how the run ended, on a line of its own, so that no prompt is glued to the live view."""
    with contextlib.suppress(OSError):
        os.write(2, (_GIVE_BACK if os.isatty(2) else b"") + _AT_ONCE)


def _signals() -> tuple[signal.Signals, ...]:
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is None or signal.getsignal(hangup) == signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, hangup
