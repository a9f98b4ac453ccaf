"""The keeper: a small process that outlives a run by a moment and kills every process that the run's workers left.

The kernel of Linux can kill a worker when the command ends (PR_SET_PDEATHSIG), but not the processes that the worker
has started, and a child that opened a new session escapes a signal to the process group. A process cannot lose its
environment by accident: each worker carries a mark there, and everything that it starts inherits the mark. /proc shows
it on Linux, psutil on other systems. The keeper waits on a pipe whose other end only the command holds; when the
pipe closes, however the command ended, the keeper kills every process that carries the mark.

On Linux the keeper is started by path with `-I -S` and imports only the standard library (measured: 9 ms).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

MARK = "ONNXBUILD_RUN"  # the environment variable: the mark of a run, or of a run and a worker

_ROUNDS = 20
_PAUSE_SECONDS = 0.02
# Windows ends a process at once for any other number than those of its console events.
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def command(mark: str) -> list[str]:
    """The command line of a keeper for the run with this mark; without /proc it needs psutil of site-packages."""
    flags = ["-I", "-S"] if has_proc() else ["-I"]
    return [sys.executable, *flags, __file__, mark]


def end_marked(mark: str, *, spare: int = 0) -> bool:
    """Kill every process with the mark in its environment, except `spare`; return whether there was one."""
    killed = False
    for _ in range(_ROUNDS):
        processes = [process for process in marked(mark) if process != spare]
        killed = killed or bool(processes)
        for process in processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, _KILL)
        if not processes:
            break
        time.sleep(_PAUSE_SECONDS)
    return killed


def marked(mark: str) -> list[int]:
    """The processes that carry a mark, or one that begins with it. A zombie has no environment any more."""
    return _marked_in_proc(f"{MARK}={mark}".encode()) if has_proc() else _marked_in_psutil(mark)


def has_proc() -> bool:
    """Whether this system shows the environments of processes in /proc, as Linux does."""
    return os.path.exists("/proc/self/environ")


def _marked_in_proc(wanted: bytes) -> list[int]:
    names: list[str] = []
    with contextlib.suppress(OSError):  # no file descriptor left; the keeper itself has its own
        names = os.listdir("/proc")
    others = (int(name) for name in names if name.isdecimal() and int(name) != os.getpid())
    return [process for process in others if wanted in _environment(process)]


def _environment(process: int) -> bytes:
    try:
        with open(f"/proc/{process}/environ", "rb") as file:
            return file.read()
    except OSError:  # the process has ended meanwhile, or belongs to another user
        return b""


def _marked_in_psutil(mark: str) -> list[int]:
    try:
        import psutil
    except ImportError:  # psutil is in the user's site-packages, which `-I` leaves out
        return []
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK, "").startswith(mark):
                processes.append(process.pid)
    return processes


def _keep() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):  # a system has two or three of them
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    while os.read(0, 1 << 16):
        pass
    end_marked(sys.argv[1])


if __name__ == "__main__":
    _keep()
