"""Which worker gets a request, and when a worker is used again: the local runner with workers that are no processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from onnxbuild.machine import usable_cores
from onnxbuild.protocol import Failure, Progress, Request, Response
from onnxbuild.runners import keeper, worker_process
from onnxbuild.runners.environments import Current
from onnxbuild.runners.local import LocalRunner

GIB = 1 << 30


class Worker:
    """Does what a test says instead of starting a process."""

    made: list[Worker]

    def __init__(self, toolchain: str, interpreter: str, threads: int, mark: str, *, network: bool = False) -> None:
        self.toolchain, self.interpreter, self.threads, self.mark = toolchain, interpreter, threads, mark
        self.network, self.alive, self.actions = network, True, 0
        self.calls: list[Any] = []
        Worker.made.append(self)

    def begin(self, request: Request, tell: Any, done: Any) -> None:
        self.actions += 1
        self.request, self.tell, self.done = request, tell, done

    def answer(self, **fields: Any) -> None:
        self.done(Response(id=self.request.id, **fields))

    def warm(self, request: Request) -> None:
        self.calls.append(request)

    def kill(self, why: Failure) -> None:
        self.calls.append(why)

    def interrupt(self) -> None:
        self.calls.append("interrupt")
        self.answer(failure=worker_process.INTERRUPTED)

    def stop(self) -> None:
        self.calls.append("stop")

    def join(self) -> None:
        self.calls.append("join")


class Other(Current):
    """The environment of another toolchain."""

    closed = False

    def interpreter(self, say: Any, run: Any) -> str:
        del run
        say("creating")
        return "/other/python"

    def version(self, name: str) -> str:
        return f"{name} of other"

    def identity(self) -> dict[str, str]:
        return {"python": "other"}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made(monkeypatch) -> list[Worker]:
    Worker.made = []
    monkeypatch.setattr(worker_process, "WorkerProcess", Worker)
    return Worker.made


@pytest.fixture
def start(made, monkeypatch):
    """Makes runners that start no process at all, and closes them."""
    runners: list[LocalRunner] = []

    def make(**settings: Any) -> LocalRunner:
        runner = LocalRunner({"other": Other()}, **settings)
        runners.append(runner)
        runner._keeper = SimpleNamespace(communicate=lambda: None)
        return runner

    yield make
    for runner in runners:
        for worker in runner._busy_workers():
            worker.answer()
        runner.close()


def request(name: str = "a", **more: Any) -> Request:
    return Request(id=name, worker="w:run", params={}, inputs={"model": "/in"}, outputs={}, log=f"/log/{name}", **more)


def submit(runner: LocalRunner, name: str = "a", toolchain: str = "current", **more: Any) -> Any:
    return runner.submit(toolchain, request(name, **more), lambda _progress: None)


def test_an_answer_reaches_whoever_asked_and_the_worker_is_used_again(start, made) -> None:
    runner = start(threads=3)
    first = submit(runner)
    assert not first.done()
    made[0].answer(facts={"x": 1})
    assert first.result(0) == Response(id="a", facts={"x": 1})
    submit(runner, "b")
    assert len(made) == 1
    assert (made[0].toolchain, made[0].interpreter, made[0].threads, made[0].network) == (
        "current", sys.executable, 3, False,
    )  # fmt: skip
    assert made[0].calls == []


def test_the_number_of_threads_is_that_of_the_machine_unless_it_is_named(start, made) -> None:
    submit(start())
    assert made[0].threads == usable_cores()


def test_two_requests_at_the_same_time_get_two_workers_with_marks_of_their_own(start, made) -> None:
    runner = start()
    submit(runner, "a")
    submit(runner, "b")
    assert len(made) == 2
    first, second = (one.mark for one in made)
    assert first.endswith("-1;")
    assert second.endswith("-2;")
    assert first[:-3] == second[:-3] == runner._mark


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"network": True}),
        ({"network": True}, {}),
        ({}, {"toolchain": "other"}),
        ({}, {"confined": True}),
    ],
)
def test_a_worker_of_another_kind_is_not_used(start, made, first, second) -> None:
    runner = start()
    submit(runner, "a", **first)
    made[0].answer()
    submit(runner, "b", **second)
    assert len(made) == 2
    assert made[1].network is second.get("network", False)
    assert made[1].toolchain == second.get("toolchain", "current")


def test_a_worker_that_died_idle_is_not_used(start, made) -> None:
    runner = start()
    submit(runner, "a")
    made[0].answer()
    made[0].alive = False
    submit(runner, "b")
    assert len(made) == 2


@pytest.mark.parametrize(
    ("answer", "actions", "again"),
    [
        ({}, 1, True),
        ({"retire": True}, 1, False),
        ({"peak_bytes": 6 * GIB - 1}, 1, True),
        ({"peak_bytes": 6 * GIB}, 1, False),
        ({}, 255, True),
        ({}, 256, False),
        ({"failure": Failure(code="OBE99", message="")}, 1, True),
    ],
)
def test_when_a_worker_is_used_again(start, made, answer, actions, *, again: bool) -> None:
    runner = start()
    future = submit(runner, "a")
    made[0].actions = actions
    made[0].answer(**answer)
    assert future.done()
    assert made[0].calls == ([] if again else ["stop"])
    submit(runner, "b")
    assert len(made) == (1 if again else 2)


def test_only_the_worker_of_a_cancelled_request_is_killed(start, made) -> None:
    runner = start()
    submit(runner, "a")
    submit(runner, "b")
    why = Failure(code="OBE62", message="late")
    runner.cancel("b", why)
    runner.cancel("unknown", why)
    assert [one.calls for one in made] == [[], [why]]
    made[1].answer()
    runner.cancel("b", why)
    assert made[1].calls == [why]


def test_closing_interrupts_the_busy_stops_the_idle_and_waits_for_all(start, made) -> None:
    runner = start()
    other = runner._environments["other"]
    waiting = submit(runner, "a")
    submit(runner, "b")
    made[1].answer()
    runner.close()
    assert waiting.result(0).failure == worker_process.INTERRUPTED
    assert made[0].calls == ["interrupt", "stop", "join"]
    assert made[1].calls == ["stop", "join"]
    assert other.closed
    assert runner._keeper is None


def test_a_closed_runner_starts_nothing(start, made) -> None:
    runner = start()
    runner.close()
    with pytest.raises(RuntimeError):
        submit(runner)
    with pytest.raises(OSError, match="the run was interrupted") as caught:
        runner._keep()
    assert caught.value.filename == "worker"
    assert made == []


def test_a_request_that_arrives_while_the_runner_closes_is_interrupted(start, made, monkeypatch) -> None:
    """`close` has looked for busy workers before the new one was among them."""
    runner = start()
    monkeypatch.setattr(runner, "_take_idle", lambda *_given: idle)
    idle = Worker("current", sys.executable, 1, "m")
    runner._closed = True
    assert submit(runner).result(0).failure == worker_process.INTERRUPTED


def sleeping(seconds: int) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", f"print('begun', flush=True)\nimport time\ntime.sleep({seconds})"]


def test_a_command_that_starts_while_the_runner_closes_is_killed(start, monkeypatch) -> None:
    runner = start()
    monkeypatch.setattr(
        runner, "_start_command", lambda command: subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    )
    assert runner._run_command(sleeping(0), lambda _line: None) == (0, "begun\n")
    runner._closed = True
    assert runner._run_command(sleeping(600), lambda _line: None)[0] != 0
    assert runner._commands == set()


def test_closing_kills_a_command_that_runs(start, monkeypatch) -> None:
    runner = start()
    monkeypatch.setattr(
        runner, "_start_command", lambda command: subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    )
    closing = threading.Event()

    def close(_line: str) -> None:
        threading.Thread(target=lambda: (runner.close(), closing.set())).start()

    assert runner._run_command(sleeping(600), close)[0] != 0
    assert closing.wait(60)


def test_an_environment_that_is_created_reports_to_the_action(start, made) -> None:
    heard: list[Progress] = []
    start().submit("other", request("x"), heard.append)
    assert heard == [Progress(id="x", text="creating")]
    assert made[0].interpreter == "/other/python"


def test_what_an_environment_has_is_asked_by_toolchain(start) -> None:
    runner = start()
    assert runner.packages("other", ("a", "b")) == {"a": "a of other", "b": "b of other"}
    assert runner.identity("other") == {"python": "other"}
    assert runner.packages("current", ("no-such-distribution",)) == {"no-such-distribution": "absent"}


# -- the second worker -------------------------------------------------------------------------------------------------


def settled(runner: LocalRunner) -> None:
    """Wait for the thread that starts processes."""
    runner._spawner.submit(lambda: None).result(10)


def test_a_second_worker_imports_what_follows_and_then_takes_a_request(start, made) -> None:
    runner = start(jobs=2)
    submit(runner, "a", warms=("wave",), network=True)
    settled(runner)
    assert [one.network for one in made] == [True, False]
    assert made[1].calls == [
        Request(id="", worker="onnxbuild.workers.libraries.warm:run", params={"modules": ("wave",)},
                inputs={"model": "/in"}, outputs={}, log="")
    ]  # fmt: skip
    submit(runner, "b")
    assert made[1].request.id == "b"


@pytest.mark.parametrize(
    ("jobs", "warms", "before", "second"),
    [
        (2, ("wave",), 0, True),
        (2, (), 0, False),
        (1, ("wave",), 0, False),
        (3, ("wave",), 1, False),
        (9, ("wave",), 1, False),
    ],
)
def test_when_there_is_a_second_worker(start, made, jobs, warms, before, *, second: bool) -> None:
    runner = start(jobs=jobs)
    for number in range(before):
        submit(runner, str(number))
    submit(runner, "a", warms=warms)
    settled(runner)
    assert len(made) == before + 1 + second


def test_workers_that_ended_are_forgotten(start, made) -> None:
    runner = start()
    submit(runner, "a")
    made[0].alive = False
    submit(runner, "b")
    assert runner._all == [made[1]]


# -- how workers end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [-9, 137])
def test_a_killed_worker_has_most_likely_used_up_the_memory(status: int) -> None:
    assert worker_process._death(status) == Failure(
        code="OBE05",
        message="the worker was killed (signal 9), most likely because memory ran out",
        notes=(
            ("hint", "run fewer actions at once (`-j 1`), use a smaller batch, or a machine with more memory"),
            ("also", "calibration needs less with fewer tokens per row (`sequence`) or `calibration: minmax`"),
        ),
    )


@pytest.mark.parametrize(
    ("status", "message", "notes"),
    [
        (-11, "the worker died of SIGSEGV", (("hint", "its log has details"),)),
        (-1, "the worker died of SIGHUP", (("hint", "its log has details"),)),
        (0, "the worker ended by itself with exit status 0", ()),
        (1, "the worker ended by itself with exit status 1", ()),
    ],
)
def test_other_ends_of_a_worker_are_named(status: int, message: str, notes: tuple[tuple[str, str], ...]) -> None:
    assert worker_process._death(status) == Failure(code="OBE61", message=message, notes=notes)


def test_the_command_line_of_a_worker(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(worker_process, "start_options", lambda interpreter: ["-P", interpreter])
    command = worker_process._command(sys.executable)
    main = Path(worker_process.__file__).parents[1] / "workers" / "__main__.py"
    assert command[:5] == [sys.executable, "-P", sys.executable, str(main), str(os.getpid())]
    assert main.is_file()
    assert str(tmp_path) in command[5:]
    assert worker_process._command("/other/python")[5:] == []


# -- the keeper --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("proc", "flags"), [(True, ["-I", "-S"]), (False, ["-I"])])
def test_the_command_line_of_a_keeper(monkeypatch, proc: bool, flags: list[str]) -> None:  # noqa: FBT001
    monkeypatch.setattr(keeper, "has_proc", lambda: proc)
    assert keeper.command("mark") == [sys.executable, *flags, keeper.__file__, "mark"]


class Seen:
    """A process as psutil shows it."""

    def __init__(self, pid: int, **variables: str) -> None:
        self.pid, self.variables = pid, variables

    def environ(self) -> dict[str, str]:
        if not self.variables:
            raise psutil.AccessDenied(self.pid)
        return self.variables


def test_where_proc_is_missing_psutil_shows_the_marks(monkeypatch) -> None:
    mine, ended = Seen(os.getpid(), ONNXBUILD_RUN="run-1;"), Seen(2)
    others = [
        Seen(3, ONNXBUILD_RUN="run-1;"),
        Seen(4, ONNXBUILD_RUN="run-2;"),
        Seen(5, HOME="run"),
        Seen(6, ONNXBUILD_RUN="ru"),
    ]
    monkeypatch.setattr(keeper, "has_proc", lambda: False)
    monkeypatch.setattr(psutil, "process_iter", lambda: [mine, ended, *others])
    assert keeper.marked("run") == [3, 4]
    assert keeper.marked("run-2;") == [4]


def test_without_psutil_a_keeper_finds_nothing(monkeypatch) -> None:
    monkeypatch.setattr(keeper, "has_proc", lambda: False)
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert keeper.marked("run") == []


def ending(monkeypatch, alive: list[list[int]], *, spare: int = 0) -> tuple[bool, list[tuple[int, int]], int]:
    """What `end_marked` returns and kills if it finds these processes one time after the other, and its pauses."""
    killed: list[tuple[int, int]] = []
    pauses: list[float] = []
    found = iter(alive)

    def kill(process: int, number: int) -> None:
        killed.append((process, number))
        if process == 2:
            raise ProcessLookupError
        if process == 3:
            raise PermissionError

    monkeypatch.setattr(keeper, "marked", lambda mark: next(found) if mark == "m" else [])
    monkeypatch.setattr(keeper, "os", SimpleNamespace(kill=kill))
    monkeypatch.setattr(keeper, "time", SimpleNamespace(sleep=pauses.append))
    result = keeper.end_marked("m", spare=spare)
    return result, killed, len(pauses)


def test_every_process_with_the_mark_is_killed_until_none_is_left(monkeypatch) -> None:
    assert ending(monkeypatch, [[1, 2, 3, 4], [4], []]) == (True, [(1, 9), (2, 9), (3, 9), (4, 9), (4, 9)], 2)
    assert ending(monkeypatch, [[]]) == (False, [], 0)
    assert ending(monkeypatch, [[7], [7]], spare=7) == (False, [], 0)
    assert ending(monkeypatch, [[7, 8], [7]], spare=7) == (True, [(8, 9)], 1)


def test_processes_that_cannot_be_killed_do_not_hold_the_command_up(monkeypatch) -> None:
    result, killed, pauses = ending(monkeypatch, [[3]] * 20)
    assert (result, len(killed), pauses) == (True, 20, 20)
