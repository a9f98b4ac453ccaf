"""One worker process: its start, the requests it gets, the messages it sends, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from onnxbuild.protocol import Failure, Message, Request, Response
from onnxbuild.runners import keeper
from onnxbuild.runners.messages import Pace, Unreadable, messages
from onnxbuild.runners.processes import kill_with_descendants, out_of_reach_of_ctrl_c, stop_with_descendants
from onnxbuild.runners.runner import Tell
from onnxbuild.runners.worker_environment import import_folders, of_worker, start_options
from onnxbuild.tables.failure_codes import message_of

_GRACE_SECONDS = 2.0

INTERRUPTED = Failure(code="OBE60", message=message_of("OBE60"))


class WorkerProcess:
    """One worker process, the thread that listens to it, and the one that waits for its end."""

    def __init__(self, toolchain: str, interpreter: str, threads: int, mark: str, *, network: bool = False) -> None:
        self.toolchain, self.network = toolchain, network
        self.actions = 0
        self.alive = True
        self._mark = mark
        self._why: Failure | None = None
        self._request: Request | None = None
        self._confines = False
        self._tell: Tell = lambda _progress: None
        self._done: Callable[[Response], None] = lambda _response: None
        self._began = 0.0
        self._ending = threading.Lock()
        self._pace = Pace()
        self._process = subprocess.Popen(
            _command(interpreter),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            **out_of_reach_of_ctrl_c(),
            env=of_worker(os.environ, threads, network=network) | {keeper.MARK: mark},
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        try:
            self._listener.start()
            threading.Thread(target=self._bury, daemon=True).start()
        except RuntimeError:  # no more threads: nobody would listen to the process, or wait for its end
            self._kill_all()
            self._process.wait()
            raise

    def begin(self, request: Request, tell: Tell, done: Callable[[Response], None]) -> None:
        """Send a request; `done` is called once, from the listening thread."""
        self._tell, self._done, self._began = tell, done, time.monotonic()
        self._request, self._confines = request, request.confined
        self.actions += 1
        self._send(request)
        if not self.alive:
            self._report_death()  # the listener ended before there was a request to report on

    def warm(self, request: Request) -> None:
        """Have it import modules before its first request. Nobody waits for the answer, which belongs to no request."""
        self._send(request)

    def _send(self, request: Request) -> None:
        with contextlib.suppress(OSError):  # it has just died; the listener sees the end of its output and reports that
            stream(self._process.stdin).write(msgspec.json.encode(request) + b"\n")
            stream(self._process.stdin).flush()

    @property
    def log(self) -> str:
        """The log of the action that it is running; empty if it is idle."""
        request = self._request
        return request.log if request is not None else ""

    def kill(self, why: Failure) -> None:
        """Kill it and everything that it started."""
        self._why = self._why or why
        self._kill_all()

    def interrupt(self) -> None:
        """Kill it because the run was interrupted."""
        self.kill(INTERRUPTED)

    def stop(self) -> None:
        """Close its input; it exits by itself."""
        with contextlib.suppress(OSError):
            stream(self._process.stdin).close()

    def join(self) -> None:
        """Wait until it has exited; kill it if it does not exit by itself."""
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill(INTERRUPTED)
            self._process.wait()
        if threading.current_thread() is not self._listener:
            self._listener.join()

    def _bury(self) -> None:
        """Once it has ended, kill what it started: a forked child that lives on holds the pipe that we listen to."""
        self._process.wait()
        self._kill_all()

    def _kill_all(self) -> None:
        if self._confines and self._process.poll() is None:
            stop_with_descendants(self._process.pid)
        kill_with_descendants(self._process.pid)
        keeper.end_marked(self._mark)

    def _listen(self) -> None:
        output = stream(self._process.stdout)
        try:
            for message in messages(output):
                if self._request is not None and message.id == self._request.id:
                    self._receive(message)
        except Unreadable as unreadable:
            self.kill(unreadable.failure)
        self.alive = False
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill(Failure(code="OBE61", message="the worker closed its end of the pipe and was stopped"))
            self._process.wait()
        output.close()
        self._report_death()

    def _receive(self, message: Message) -> None:
        if isinstance(message, Response):
            self._finish(self._without_leftovers(message))
        elif self._pace.allows():
            self._tell(message)

    def _without_leftovers(self, response: Response) -> Response:
        """A response, once nothing that the action started can write into its outputs any more.

        On Linux a worker of ours ends such processes itself. Elsewhere it cannot find those that left its process
        group. A worker that ran somebody else's code is not asked: it ends here, with all that it started.
        """
        if self._request is not None and self._request.confined:
            self._end_for_good()
            return msgspec.structs.replace(response, retire=True)
        if keeper.has_proc() or not keeper.end_marked(self._mark, spare=self._process.pid):
            return response
        return msgspec.structs.replace(response, retire=True)

    def _end_for_good(self) -> None:
        self._kill_all()
        self.alive = False
        self._process.wait()

    def _report_death(self) -> None:
        failure = self._why or _death(self._process.wait())
        self._finish(Response(id="", failure=failure, seconds=time.monotonic() - self._began))

    def _finish(self, response: Response) -> None:
        with self._ending:
            request, self._request = self._request, None
        if request is not None:
            self._done(msgspec.structs.replace(response, id=request.id))


def _command(interpreter: str) -> list[str]:
    """The command line of a worker: our process id, and where it may import from besides its own packages."""
    main = str(Path(__file__).parent.parent / "workers" / "__main__.py")
    options, folders = start_options(interpreter), import_folders(interpreter, os.environ)
    return [interpreter, *options, main, str(os.getpid()), *folders]


def stream(pipe: IO[bytes] | None) -> IO[bytes]:
    """A pipe of a process that was started with one."""
    assert pipe is not None, "BUG: a worker is started with pipes"
    return pipe


# A process that was killed, and how a shell or a container around an interpreter reports signal 9.
_KILLED = frozenset({-9, 128 + 9})


def _death(status: int) -> Failure:
    if status in _KILLED:
        return Failure(
            code="OBE05",
            message="the worker was killed (signal 9), most likely because memory ran out",
            notes=(
                ("hint", "run fewer actions at once (`-j 1`), use a smaller batch, or a machine with more memory"),
                ("also", "calibration needs less with fewer tokens per row (`sequence`) or `calibration: minmax`"),
            ),
        )
    if status < 0:
        name = signal.Signals(-status).name
        return Failure(code="OBE61", message=f"the worker died of {name}", notes=(("hint", "its log has details"),))
    return Failure(code="OBE61", message=f"the worker ended by itself with exit status {status}")
