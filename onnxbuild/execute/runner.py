"""Runners: how workers are reached. The local one keeps warm worker processes and talks JSON lines over pipes."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Protocol

import msgspec

from onnxbuild.execute import keeper
from onnxbuild.execute.environments import Current, Environment
from onnxbuild.machine import usable_cores
from onnxbuild.steps.kind import Failure, Message, Progress, Request, Response

Tell = Callable[[Progress], None]


class Runner(Protocol):
    """Where actions run: tells what is installed there, and takes requests."""

    def packages(self, toolchain: str, names: tuple[str, ...]) -> Mapping[str, str]:
        """The installed version of each named distribution; "absent" for one that is not installed."""

    def identity(self, toolchain: str) -> Mapping[str, str]:
        """What else of the toolchain belongs to a key: the interpreter."""

    def submit(self, toolchain: str, request: Request, tell: Tell) -> Future[Response]:
        """Run a request; the future always ends with a response, a failed one where the worker died."""

    def cancel(self, request_id: str, why: Failure) -> None:
        """End the worker that runs this request; its future ends with `why`."""

    def close(self) -> None:
        """End all workers, and leave none behind."""


# A worker is replaced after this many actions, or when its memory has grown past this: leaks of the frameworks
# (torch's and onnxruntime's arenas are never given back) would otherwise add up over a long run.
_ACTIONS_PER_WORKER = 256
_BYTES_PER_WORKER = 6 << 30

_GRACE_SECONDS = 2.0

_INTERRUPTED = Failure(code="OBE60", message="the run was interrupted")


class LocalRunner:
    """Worker processes on this machine, one per action at a time, reused while they are sound.

    `environments`: those of the toolchains, by name. `threads`: the number of cores that one action may use.
    """

    def __init__(self, environments: Mapping[str, Environment] | None = None, *, threads: int = 0) -> None:
        """Start nothing yet: processes come with the first request."""
        self._environments: Mapping[str, Environment] = {"current": Current(), **(environments or {})}
        self._commands: set[subprocess.Popen[str]] = set()
        self._threads = threads or usable_cores()
        self._lock = threading.Lock()
        self._closed = False
        self._all: list[_Worker] = []
        self._started = 0
        self._idle: list[_Worker] = []
        self._busy: dict[str, _Worker] = {}
        self._mark = uuid.uuid4().hex
        self._keeper: subprocess.Popen[bytes] | None = None
        # Linux ends a child with the *thread* that made it (PR_SET_PDEATHSIG), so one thread makes them all.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="spawn")

    def packages(self, toolchain: str, names: tuple[str, ...]) -> Mapping[str, str]:
        """Versions as the interpreter of the toolchain would import them."""
        return {name: self._environments[toolchain].version(name) for name in names}

    def identity(self, toolchain: str) -> Mapping[str, str]:
        """The implementation and its minor version: a patch release of Python changes no result."""
        return self._environments[toolchain].identity()

    def submit(self, toolchain: str, request: Request, tell: Tell) -> Future[Response]:
        """Give a request to an idle worker of the toolchain, or to a new one; its environment may have to be made.

        Errors: OSError where no worker starts; Unusable.
        """
        future: Future[Response] = Future()
        with self._lock:
            worker = next((w for w in self._idle if w.toolchain == toolchain and w.alive), None)
            if worker is not None:
                self._idle.remove(worker)
        if worker is None:
            interpreter = self._environments[toolchain].interpreter(
                lambda text: tell(Progress(id=request.id, text=text)), self._run_command
            )
            worker = self._spawner.submit(self._spawn, toolchain, interpreter).result()
        with self._lock:
            self._busy[request.id] = worker
            closed = self._closed
        worker.begin(request, tell, lambda response: self._end(request.id, worker, future, response))
        if closed:  # `close` has looked for busy workers a moment ago and did not see this one
            worker.kill(_INTERRUPTED)
        return future

    def cancel(self, request_id: str, why: Failure) -> None:
        """Kill the worker and all that it started."""
        with self._lock:
            worker = self._busy.get(request_id)
        if worker is not None:
            worker.kill(why)

    def close(self) -> None:
        """Kill what is busy, end what is idle, wait for all."""
        with self._lock:
            self._closed = True
            busy, idle, commands = list(self._busy.values()), list(self._idle), list(self._commands)
            self._idle.clear()
        for command in commands:
            command.kill()
        for worker in busy:
            worker.kill(_INTERRUPTED)
        for worker in idle:
            worker.stop()
        self._spawner.shutdown()
        for worker in self._all:
            worker.join()
        if self._keeper is not None:
            _stream(self._keeper.stdin).close()
            self._keeper.wait()
            self._keeper = None

    def _run_command(self, command: Sequence[str]) -> tuple[int, str]:
        """Run a command that makes an environment; it ends with the run, whatever the run's end is."""
        process = self._spawner.submit(self._start_command, command).result()
        with self._lock:
            self._commands.add(process)
            closed = self._closed
        if closed:
            process.kill()
        output, _ = process.communicate()
        with self._lock:
            self._commands.discard(process)
        return process.returncode, output

    def _start_command(self, command: Sequence[str]) -> subprocess.Popen[str]:
        self._keep()
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {keeper.MARK: self._mark},
        )

    def _spawn(self, toolchain: str, interpreter: str) -> _Worker:
        self._keep()
        # A mark is never given twice: the end of a worker kills all that carry its mark.
        self._started += 1
        worker = _Worker(toolchain, interpreter, self._threads, f"{self._mark}-{self._started};")
        self._all = [*(one for one in self._all if one.alive), worker]
        return worker

    def _keep(self) -> None:
        """Have the keeper there before the first process that it is to look after."""
        if self._closed:
            raise OSError(errno.ECANCELED, "the run was interrupted", "worker")
        if self._keeper is None:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, self._mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _end(self, request_id: str, worker: _Worker, future: Future[Response], response: Response) -> None:
        sound = not response.retire and response.peak_bytes < _BYTES_PER_WORKER
        with self._lock:
            self._busy.pop(request_id, None)
            reusable = sound and worker.alive and worker.actions < _ACTIONS_PER_WORKER and not self._closed
            if reusable:
                self._idle.append(worker)
        if not reusable:
            worker.stop()
        future.set_result(response)


class _Worker:
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
            _stream(self._process.stdin).write(msgspec.json.encode(request) + b"\n")
            _stream(self._process.stdin).flush()
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
            _stream(self._process.stdin).close()

    def join(self) -> None:
        """Wait until it is gone; one that does not go by itself is killed."""
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill(_INTERRUPTED)
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
        output = _stream(self._process.stdout)
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


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "BUG: a worker is started with pipes"
    return stream


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
