"""The processes around a worker: it ends with the command, and what an action leaves running ends with the action.

On Linux the kernel ends an orphaned worker, and /proc names the processes that an action left running. Elsewhere a
worker ends when its input does, and processes that an action abandons are not found.
"""

from __future__ import annotations

import contextlib
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when the command dies, so that no writer is left behind."""
    with contextlib.suppress(Exception):  # prctl exists only on Linux
        import ctypes

        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # A process that an action starts and abandons becomes our child again, where `end_orphans` finds it.
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent:
        os._exit(1)


def end_group() -> None:
    """End this process and all that it started, as far as the system has process groups."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(OSError):
            os.killpg(os.getpgid(0), signal.SIGTERM)
    os._exit(0)


def end_orphans() -> bool:
    """Kill what the action started and left running; whether there was any.

    A library may still rely on a process that was killed (torch.compile keeps a pool), so this worker then retires.
    """
    any_running = False
    while os.path.isdir("/proc") and _has_children():
        running = _descendants(os.getpid())
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        any_running = any_running or bool(running)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)
    return any_running


def _has_children() -> bool:
    """Whether there is a child, running or ended: one system call, since it is asked after every action."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _descendants(process: int) -> list[int]:
    """The running processes below one, nearest first."""
    children = _children_by_parent()
    below: list[int] = []
    waiting = [process]
    while waiting:
        nearest = children.get(waiting.pop(), [])
        below += nearest
        waiting += nearest
    return below


def _children_by_parent() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state not in {b"Z", b"X"}:  # ended
                    children.setdefault(int(parent), []).append(int(name))
    return children
