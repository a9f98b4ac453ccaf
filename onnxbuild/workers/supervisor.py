"""Runs somebody else's code in a child of the worker, which survives and ends what the code leaves running.

An orphaned descendant becomes a child of the nearest process that adopts orphans, which is the worker. If the code ran
in the worker itself, it could end the worker, and nobody would end its children.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import NoReturn

from onnxbuild.workers.process_tree import die_with_parent, end_orphans


def continue_in_child() -> None:
    """Return in a child of this process, which waits for the child and ends in the same way. Needs a single thread."""
    if sys.platform != "linux":
        return
    worker = os.getpid()
    child = os.fork()
    if child == 0:
        die_with_parent(worker)
        return
    _, status = os.waitpid(child, 0)
    end_orphans()
    _end_as(status)


def _end_as(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)
