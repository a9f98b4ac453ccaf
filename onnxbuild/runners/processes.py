"""Starting and ending processes on every system: sessions and process groups where POSIX has them, else psutil."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any

_ROUNDS = 100  # fewer rounds would not catch a process that forks without end


def out_of_reach_of_ctrl_c() -> dict[str, Any]:
    """Arguments of `Popen` for a process that Ctrl-C does not reach: the command gets it, and ends the process."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def kill_with_descendants(pid: int) -> None:
    """Kill a process that was started this way, and what it has started, as far as the system connects them."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    else:
        _kill_tree(pid)


def stop_with_descendants(pid: int) -> None:
    """Stop a process, and kill all processes that it has started, wherever they have moved; the process itself stays.

    A worker on Linux adopts what its descendants abandon, so while it is stopped all of them are below it. They cannot
    escape by leaving its session or by emptying their environment.
    """
    if not hasattr(signal, "SIGSTOP"):
        return
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGSTOP)
    for _ in range(_ROUNDS):
        if not _kill_below(pid):
            return


def _kill_below(pid: int) -> bool:
    """Kill the running processes below one; whether there were any."""
    import psutil

    killed = False
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if child.status() != psutil.STATUS_ZOMBIE:
                    child.kill()
                    killed = True
    return killed


def _kill_tree(pid: int) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.Error):
                one.kill()
