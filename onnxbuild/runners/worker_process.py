"""One worker process: its start, what it is sent, what it says, and its end."""

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

from onnxbuild.protocol import Failure, Message, Progress, Request, Response
from onnxbuild.runners import keeper
from onnxbuild.runners.runner import Tell
from onnxbuild.tables.failure_codes import message_of

_GRACE_SECONDS = 2.0

INTERRUPTED = Failure(code="OBE60", message=message_of("OBE60"))


class WorkerProcess:
    """One worker process, the thread that listens to it, and the one that waits for its end."""

    def __init__(self, toolchain: str, interpreter: str, threads: int, mark: str) -> None:
        self.toolchain = toolchain
        self.actions = 0
        self.alive = True
        self._mark = mark
        self._why: Failure | None = None
        self._request: Request | None = None
        self._tell: Tell = lambda _progress: None
        self._done: Callable[[Response], None] = lambda _response: None
        self._began = 0.0
        self._ending = threading.Lock()
        self._process = subprocess.Popen(
            [interpreter, "-P", str(Path(__file__).parent.parent / "workers" / "__main__.py"), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the command alone, which then ends the group
            env=_environment(threads) | {keeper.MARK: mark},
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        threading.Thread(target=self._bury, daemon=True).start()

    def begin(self, request: Request, tell: Tell, done: Callable[[Response], None]) -> None:
        """Send a request; `done` is called once, from the listening thread."""
        self._tell, self._done, self._began = tell, done, time.monotonic()
        self._request = request
        self.actions += 1
        try:
            stream(self._process.stdin).write(msgspec.json.encode(request) + b"\n")
            stream(self._process.stdin).flush()
        except OSError:
            pass  # it died just now; the listener sees the end of its output and reports that
        if not self.alive:
            self._report_death()  # the listener ended before there was a request to report on

    def kill(self, why: Failure) -> None:
        """End it and all that it started, at once."""
        self._why = self._why or why
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        keeper.end_marked(self._mark)

    def stop(self) -> None:
        """Let it go: at the end of its input it exits."""
        with contextlib.suppress(OSError):
            stream(self._process.stdin).close()

    def join(self) -> None:
        """Wait until it is gone; one that does not go by itself is killed."""
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill(INTERRUPTED)
            self._process.wait()
        if threading.current_thread() is not self._listener:
            self._listener.join()

    def _bury(self) -> None:
        """Once it has ended, end what it started: a forked child that lives on holds the pipe that we listen to."""
        self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        keeper.end_marked(self._mark)

    def _listen(self) -> None:
        decoder = msgspec.json.Decoder(Message)
        output = stream(self._process.stdout)
        for line in output:
            try:
                message = decoder.decode(line)
            except msgspec.MsgspecError:
                # The torso of a message, cut off where the worker was killed; its death is told below.
                continue
            if self._request is None or message.id != self._request.id:
                continue
            if isinstance(message, Progress):
                self._tell(message)
            else:
                self._finish(message)
        self.alive = False
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill(Failure(code="OBE61", message="the worker closed its end of the pipe and was stopped"))
            self._process.wait()
        output.close()
        self._report_death()

    def _report_death(self) -> None:
        failure = self._why or _death(self._process.wait())
        self._finish(Response(id="", failure=failure, seconds=time.monotonic() - self._began))

    def _finish(self, response: Response) -> None:
        with self._ending:
            request, self._request = self._request, None
        if request is not None:
            self._done(msgspec.structs.replace(response, id=request.id))


def stream(pipe: IO[bytes] | None) -> IO[bytes]:
    """A pipe of a process that was started with one."""
    assert pipe is not None, "BUG: a worker is started with pipes"
    return pipe


def _environment(threads: int) -> dict[str, str]:
    """The environment of a worker: quiet, without telemetry, with as many threads as it may use."""
    fixed = {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "PYTHONUNBUFFERED": "1",
        # Models iterate over sets of words while they are traced, and the order of their nodes is that of the words.
        "PYTHONHASHSEED": "0",
    }
    return {"OMP_NUM_THREADS": str(threads), **os.environ, **fixed}


_KILLED_INSIDE = 128 + signal.SIGKILL


def _death(status: int) -> Failure:
    # 137 is how a shell or a container around an interpreter passes signal 9 on.
    if status in {-signal.SIGKILL, _KILLED_INSIDE}:
        return Failure(
            code="OBE05",
            message="the worker was killed (signal 9), most likely because memory ran out",
            notes=(
                ("hint", "fewer actions at once (`-j 1`), a smaller batch, or a machine with more memory"),
                ("also", "a calibration needs less with fewer tokens of a row (`sequence`) and `calibration: minmax`"),
            ),
        )
    if status < 0:
        name = signal.Signals(-status).name
        return Failure(code="OBE61", message=f"the worker died of {name}", notes=(("hint", "its log has the rest"),))
    return Failure(code="OBE61", message=f"the worker ended by itself with exit status {status}")
