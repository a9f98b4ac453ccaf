"""The local runner: keeps worker processes warm and exchanges JSON lines with them over pipes."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from onnxbuild.machine import usable_cores
from onnxbuild.protocol import Failure, Progress, Request, Response
from onnxbuild.runners import keeper
from onnxbuild.runners.environments import Current, Environment
from onnxbuild.runners.processes import out_of_reach_of_ctrl_c
from onnxbuild.runners.runner import Tell
from onnxbuild.runners.worker_process import INTERRUPTED, WorkerProcess, stream

# A worker is replaced after this many actions, or when its memory has grown past this size. Otherwise the leaks of the
# frameworks would add up over a long run: torch and onnxruntime never release their arenas.
_ACTIONS_PER_WORKER = 256
_BYTES_PER_WORKER = 6 << 30


class LocalRunner:
    """Worker processes on this machine, one per running action, reused while they are healthy.

    `environments`: the environments of the toolchains, by name. `threads`: the number of cores that an action may use.
    """

    def __init__(self, environments: Mapping[str, Environment] | None = None, *, threads: int = 0) -> None:
        """Start no process yet: the first request does."""
        self._environments: Mapping[str, Environment] = {"current": Current(), **(environments or {})}
        self._commands: set[subprocess.Popen[str]] = set()
        self._threads = threads or usable_cores()
        self._lock = threading.Lock()
        self._closed = False
        self._all: list[WorkerProcess] = []
        self._started = 0
        self._idle: list[WorkerProcess] = []
        self._busy: dict[str, WorkerProcess] = {}
        self._mark = uuid.uuid4().hex
        self._keeper: subprocess.Popen[bytes] | None = None
        # Linux kills a child when the *thread* that started it ends (PR_SET_PDEATHSIG), so one thread starts them all.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="spawn")

    def packages(self, toolchain: str, names: tuple[str, ...]) -> Mapping[str, str]:
        """The versions that the interpreter of the toolchain would import."""
        return {name: self._environments[toolchain].version(name) for name in names}

    def identity(self, toolchain: str) -> Mapping[str, str]:
        """The implementation and its minor version: a patch release of Python changes no result."""
        return self._environments[toolchain].identity()

    def submit(self, toolchain: str, request: Request, tell: Tell) -> Future[Response]:
        """Give a request to an idle worker of the toolchain, or to a new one. Creates the environment if necessary.

        Errors: OSError if no worker starts; Unusable.
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
        if closed:  # `close` looked for busy workers a moment ago and did not see this one
            worker.kill(INTERRUPTED)
        return future

    def cancel(self, request_id: str, why: Failure) -> None:
        """Kill the worker and everything that it started."""
        with self._lock:
            worker = self._busy.get(request_id)
        if worker is not None:
            worker.kill(why)

    def close(self) -> None:
        """Kill the busy workers, stop the idle ones, and wait for all of them."""
        with self._lock:
            self._closed = True
            busy, idle, commands = list(self._busy.values()), list(self._idle), list(self._commands)
            self._idle.clear()
        for command in commands:
            command.kill()
        for worker in busy:
            worker.kill(INTERRUPTED)
        for worker in idle:
            worker.stop()
        self._spawner.shutdown()
        for worker in self._all:
            worker.join()
        for environment in self._environments.values():
            environment.close()
        if self._keeper is not None:
            stream(self._keeper.stdin).close()
            self._keeper.wait()
            self._keeper = None

    def _run_command(self, command: Sequence[str], on_line: Callable[[str], None]) -> tuple[int, str]:
        """Run a command that creates an environment; the command ends with the run, however the run ends.

        `on_line` gets each line of the output as soon as the command prints it.
        """
        process = self._spawner.submit(self._start_command, command).result()
        with self._lock:
            self._commands.add(process)
            closed = self._closed
        if closed:
            process.kill()
        assert process.stdout is not None, "BUG: a command is started with a pipe"
        lines = []
        with process:
            for line in process.stdout:
                lines.append(line)
                on_line(line.rstrip("\n"))
        with self._lock:
            self._commands.discard(process)
        return process.returncode, "".join(lines)

    def _start_command(self, command: Sequence[str]) -> subprocess.Popen[str]:
        self._keep()
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {keeper.MARK: self._mark},
            **out_of_reach_of_ctrl_c(),
        )

    def _spawn(self, toolchain: str, interpreter: str) -> WorkerProcess:
        self._keep()
        # No two workers have the same mark: the end of a worker kills every process with its mark.
        self._started += 1
        worker = WorkerProcess(toolchain, interpreter, self._threads, f"{self._mark}-{self._started};")
        self._all = [*(one for one in self._all if one.alive), worker]
        return worker

    def _keep(self) -> None:
        """Start the keeper before the first process that it watches."""
        if self._closed:
            raise OSError(errno.ECANCELED, "the run was interrupted", "worker")
        if self._keeper is None:
            self._keeper = subprocess.Popen(
                keeper.command(self._mark),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **out_of_reach_of_ctrl_c(),
            )

    def _end(self, request_id: str, worker: WorkerProcess, future: Future[Response], response: Response) -> None:
        healthy = not response.retire and response.peak_bytes < _BYTES_PER_WORKER
        with self._lock:
            self._busy.pop(request_id, None)
            reusable = healthy and worker.alive and worker.actions < _ACTIONS_PER_WORKER and not self._closed
            if reusable:
                self._idle.append(worker)
        if not reusable:
            worker.stop()
        future.set_result(response)
