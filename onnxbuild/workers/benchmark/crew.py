"""The processes of a throughput, as the process that started them sees them.

Each is a worker process with `lane` as its worker. One that dies or fails is a failure of the whole benchmark: reading
from a process that has ended returns at once, so nothing waits for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from onnxbuild.protocol import CheckFailed, Message, Progress, Request, Response
from onnxbuild.workers.benchmark.lane import Open, Pass, Prepare

_MAIN = Path(__file__).parent.parent / "__main__.py"
_LEAD_SECONDS = 0.05  # until a pass begins: by then every process has read that it will
_GRACE_SECONDS = 5.0
_LOG_BYTES = 2000


class Lane:
    """One process. `name` is what a message calls it: `process 2 of 4 of torch`."""

    def __init__(self, name: str, threads: int, inputs: Mapping[str, Path], log: Path) -> None:
        self.name, self._inputs, self._log = name, inputs, log
        self.peak_bytes = 0
        # A pool of compilers would be left running after each request, and is ended there.
        own = {"OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, *_options(), str(_MAIN), str(os.getpid()), *filter(os.path.isabs, sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **own},
            start_new_session=True,  # at its end it ends its whole group
        )

    def send(self, order: Open | Prepare | Pass) -> None:
        """Ask for something, and return. Errors: CheckFailed OBE125 if the process has ended."""
        request = Request(
            id=self.name,
            worker="onnxbuild.workers.benchmark.lane:run",
            params=msgspec.to_builtins(order),
            inputs={port: str(path) for port, path in self._inputs.items()},
            outputs={},
            log=str(self._log),
        )
        assert self.process.stdin is not None, "BUG: a lane has a pipe to its input"
        try:
            self.process.stdin.write(msgspec.json.encode(request) + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise self._death() from None

    def answer(self) -> Mapping[str, Any]:
        """The facts of what was asked. Errors: CheckFailed OBE125 if the process has ended, or with its own code."""
        assert self.process.stdout is not None, "BUG: a lane has a pipe from its output"
        for line in self.process.stdout:
            message: Message = msgspec.json.decode(line, type=Message)
            if isinstance(message, Progress):
                continue
            return self._facts(message)
        raise self._death()

    def _facts(self, response: Response) -> Mapping[str, Any]:
        self.peak_bytes = max(self.peak_bytes, response.peak_bytes)
        failure = response.failure
        if failure is not None:
            raise CheckFailed(failure.code, f"{self.name}: {failure.message}", notes=failure.notes)
        return response.facts

    def _death(self) -> CheckFailed:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE_SECONDS)
        printed = _end_of(self._log).strip().splitlines()[-1:]
        how = _ending(self.process.returncode)
        notes = [("note", f"the last that it printed: {line}") for line in printed]
        hint = "if memory ran out, use fewer `workers` or a smaller `batch`"
        return CheckFailed("OBE125", f"{self.name} ended {how} during the benchmark", notes=[*notes, ("hint", hint)])

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


class Crew:
    """The processes of one engine that share the texts; use it as a context."""

    def __init__(self, order: Open, workers: int, inputs: Mapping[str, Path]) -> None:
        """Start the processes, which open the engine at the same time, as those of a server do."""
        self.engine, self.threads = order.engine, order.threads
        self._logs = Path(tempfile.mkdtemp(prefix="throughput-"))
        self.lanes: list[Lane] = []
        self._order, self._workers, self._inputs = order, workers, inputs
        self.opened: list[Mapping[str, Any]] = []

    def __enter__(self) -> Self:
        """Start every process and open its engine. Errors: those of `Lane.answer`."""
        try:
            for number in range(self._workers):
                name = f"process {number + 1} of {self._workers} of {self.engine}"
                self.lanes.append(Lane(name, self.threads, self._inputs, self._logs / f"{number}.txt"))
            cores = cores_of(self._workers, self.threads)
            orders = [msgspec.structs.replace(self._order, cores=cores[n] if cores else ()) for n in self._numbers()]
            self.opened = self._ask(orders)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End every process."""
        self.close()

    def prepare(self, shares: Sequence[Prepare]) -> list[Mapping[str, Any]]:
        """Give each process its share of the texts, of which it runs what warms it up."""
        return self._ask(shares)

    def timed_pass(self) -> list[Mapping[str, Any]]:
        """Run all shares once, from the same moment on, when every process is ready."""
        return self._ask([Pass(start=time.perf_counter() + _LEAD_SECONDS)] * len(self.lanes))

    def peak_bytes(self) -> int:
        """The peak resident memory of all processes together."""
        return sum(lane.peak_bytes for lane in self.lanes)

    def close(self) -> None:
        """End every process, whatever state it is in."""
        for lane in self.lanes:
            lane.close()
        shutil.rmtree(self._logs, ignore_errors=True)

    def _numbers(self) -> range:
        return range(self._workers)

    def _ask(self, orders: Sequence[Open | Prepare | Pass]) -> list[Mapping[str, Any]]:
        for lane, order in zip(self.lanes, orders, strict=True):
            lane.send(order)
        return [lane.answer() for lane in self.lanes]


def cores_of(workers: int, threads: int) -> list[tuple[int, ...]]:
    """The cores of each process; empty where the system cannot pin one, or there are fewer cores than threads."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if workers * threads > len(usable):
        return []
    return [tuple(usable[number * threads : (number + 1) * threads]) for number in range(workers)]


def _options() -> list[str]:
    """How this interpreter was started, as far as it decides which modules are found."""
    site = ["-s"] if sys.flags.no_user_site else []
    return ["-P", "-u", *site, *(["-B"] if sys.dont_write_bytecode else [])]


def _end_of(log: Path) -> str:
    try:
        return log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
    except OSError:
        return ""


def _ending(code: int | None) -> str:
    if code is None:
        return "without closing"
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"with exit code {code}"
