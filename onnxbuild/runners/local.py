"""The local runner: keeps worker processes warm and exchanges JSON lines with them over pipes."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from onnxbuild.machine import usable_cores
from onnxbuild.needs.step_needs import is_of_machine
from onnxbuild.protocol import Failure, Progress, Request, Response
from onnxbuild.runners import keeper
from onnxbuild.runners.environments import Current, Environment, Unusable
from onnxbuild.runners.processes import out_of_reach_of_ctrl_c
from onnxbuild.runners.programs import version_on_machine
from onnxbuild.runners.runner import Tell

# A run that has nothing to do starts no process, and so needs none of the modules that functions here import.
if TYPE_CHECKING:
    from onnxbuild.runners.log_watch import LogWatch
    from onnxbuild.runners.worker_process import WorkerProcess

# A worker is replaced after this many actions, or when its memory has grown past this size. Otherwise the leaks of the
# frameworks would add up over a long run: torch and onnxruntime never release their arenas.
_ACTIONS_PER_WORKER = 256
_BYTES_PER_WORKER = 6 << 30
_WARM = "onnxbuild.workers.libraries.warm:run"


class LocalRunner:
    """Worker processes on this machine, one per running action, reused while they are healthy.

    `environments`: the environments of the toolchains, by name. `threads`: the number of cores that an action may use.
    `jobs`: how many actions run at once.
    """

    def __init__(
        self, environments: Mapping[str, Environment] | None = None, *, threads: int = 0, jobs: int = 1
    ) -> None:
        """Start no process yet: the first request does."""
        self._environments: Mapping[str, Environment] = {"current": Current(), **(environments or {})}
        self._commands: set[subprocess.Popen[str]] = set()
        self._threads, self._jobs = threads or usable_cores(), jobs
        self._lock = threading.Lock()
        self._closed = False
        self._all: list[WorkerProcess] = []
        self._started = 0
        self._idle: list[WorkerProcess] = []
        self._busy: dict[str, WorkerProcess] = {}
        self._mark = uuid.uuid4().hex
        self._keeper: subprocess.Popen[bytes] | None = None
        self._log_watch: LogWatch | None = None
        # Linux kills a child when the *thread* that started it ends (PR_SET_PDEATHSIG), so one thread starts them all.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="spawn")

    def packages(self, toolchain: str, names: tuple[str, ...]) -> Mapping[str, str]:
        """The versions that the interpreter of the toolchain would import, and what the machine has beside it."""
        environment = self._environments[toolchain]
        return {name: version_on_machine(name) if is_of_machine(name) else environment.version(name) for name in names}

    def identity(self, toolchain: str) -> Mapping[str, str]:
        """The implementation and its minor version: a patch release of Python changes no result."""
        return self._environments[toolchain].identity()

    def submit(self, toolchain: str, request: Request, tell: Tell) -> Future[Response]:
        """Give a request to an idle worker of the toolchain, or to a new one. Creates the environment if necessary.

        A request that runs somebody else's code always gets a new worker, which ends with the action.

        Errors: OSError if no worker starts; Unusable.
        """
        future: Future[Response] = Future()
        worker = self._take_idle(toolchain, request)
        if worker is None:
            interpreter = self._environments[toolchain].interpreter(
                lambda text: tell(Progress(id=request.id, text=text)), self._run_command
            )
            worker = self._spawner.submit(self._spawn, toolchain, interpreter, network=request.network).result()
        with self._lock:
            self._busy[request.id] = worker
            closed = self._closed
        worker.begin(request, tell, lambda response: self._end(request.id, worker, future, response))
        self._warm_another(toolchain, request)
        if closed:  # `close` looked for busy workers a moment ago and did not see this one
            worker.interrupt()
        return future

    def _take_idle(self, toolchain: str, request: Request) -> WorkerProcess | None:
        """A worker that has seen no token unless this request needs one, and never one for somebody else's code."""
        if request.confined:
            return None
        with self._lock:
            fitting = (toolchain, request.network)
            worker = next((w for w in self._idle if (w.toolchain, w.network) == fitting and w.alive), None)
            if worker is not None:
                self._idle.remove(worker)
        return worker

    def _warm_another(self, toolchain: str, request: Request) -> None:
        """Start a second worker, if there is none, and have it import what the actions after this one need."""
        with self._lock:
            others = [one for one in self._all if one.alive and (one.toolchain, one.network) == (toolchain, False)]
            if not request.warms or self._jobs <= len(others) or len(others) > 1 or self._closed:
                return
        with contextlib.suppress(OSError, Unusable):  # nobody asked for this worker
            # Here, because the thread that starts processes cannot wait for one that creates an environment.
            interpreter = self._environments[toolchain].interpreter(lambda _text: None, self._run_command)
            self._spawner.submit(self._spawn_warm, toolchain, interpreter, request)

    def _spawn_warm(self, toolchain: str, interpreter: str, request: Request) -> None:
        worker = self._spawn(toolchain, interpreter, network=False)
        params = {"modules": request.warms}
        worker.warm(Request(id="", worker=_WARM, params=params, inputs=request.inputs, outputs={}, log=""))
        with self._lock:
            self._idle.append(worker)

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
            busy, commands = list(self._busy.values()), list(self._commands)
        for command in commands:
            command.kill()
        for worker in busy:
            worker.interrupt()
        self._spawner.shutdown()
        if self._log_watch is not None:
            self._log_watch.stop()
        for worker in self._idle:  # none is added any more
            worker.stop()
        self._idle.clear()
        for worker in self._all:
            worker.join()
        for environment in self._environments.values():
            environment.close()
        if self._keeper is not None:
            self._keeper.communicate()  # closes its input, and waits
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
        from onnxbuild.runners.command_output import read_to_end

        output = read_to_end(process, on_line)
        with self._lock:
            self._commands.discard(process)
        return process.returncode, output

    def _start_command(self, command: Sequence[str]) -> subprocess.Popen[str]:
        from onnxbuild.passed_variables import of_pip

        self._keep()
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=of_pip(os.environ) | {keeper.MARK: self._mark},
            **out_of_reach_of_ctrl_c(),
        )

    def _spawn(self, toolchain: str, interpreter: str, *, network: bool) -> WorkerProcess:
        from onnxbuild.runners.log_watch import LogWatch
        from onnxbuild.runners.worker_process import WorkerProcess

        self._keep()
        self._log_watch = self._log_watch or LogWatch(self._busy_workers)
        self._log_watch.start()
        # No two workers have the same mark: the end of a worker kills every process with its mark.
        self._started += 1
        mark = f"{self._mark}-{self._started};"
        worker = WorkerProcess(toolchain, interpreter, self._threads, mark, network=network)
        self._all = [*(one for one in self._all if one.alive), worker]
        return worker

    def _keep(self) -> None:
        """Start the keeper before the first process that it watches."""
        from onnxbuild.passed_variables import of_pip

        if self._closed:
            raise OSError(errno.ECANCELED, "the run was interrupted", "worker")
        if self._keeper is None:
            self._keeper = subprocess.Popen(
                keeper.command(self._mark),
                env=of_pip(os.environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **out_of_reach_of_ctrl_c(),
            )

    def _busy_workers(self) -> list[WorkerProcess]:
        with self._lock:
            return list(self._busy.values())

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
