"""Starting and ending processes on every system: sessions and process groups where POSIX has them, else psutil."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any


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


def _kill_tree(pid: int) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.Error):
                one.kill()
