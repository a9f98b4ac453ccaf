"""One worker as the command sees it: what is sent, what is heard, and how it ends. The process is a pair of pipes."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from onnxbuild.protocol import Failure, Progress, Request, Response
from onnxbuild.runners import keeper, processes, worker_process
from onnxbuild.runners.worker_process import INTERRUPTED, WorkerProcess

CLOSED = Failure(code="OBE61", message="the worker closed its end of the pipe and was stopped")
ENDED = Failure(code="OBE61", message="the worker ended by itself with exit status 3")


PID = 1 << 30  # of no process


class Process:
    """What `Popen` returns: a test writes into its output and says when it ends."""

    pid = PID

    def __init__(self, command: list[str], **options: Any) -> None:
        self.command, self.options = command, options
        heard, stdin = os.pipe()
        stdout, said = os.pipe()
        self.stdin, self.heard = os.fdopen(stdin, "wb"), os.fdopen(heard, "rb")
        self.stdout, self.said = os.fdopen(stdout, "rb"), os.fdopen(said, "wb", buffering=0)
        self.status: int | None = None
        self._ended = threading.Event()

    def say(self, message: Any) -> None:
        self.said.write(msgspec.json.encode(message) + b"\n")

    def end(self, status: int) -> None:
        self.status = status
        self._ended.set()

    def poll(self) -> int | None:
        return self.status

    def wait(self, seconds: float | None = None) -> int | None:
        if not self._ended.wait(None if seconds is None else 0):
            raise subprocess.TimeoutExpired(self.command, seconds or 0)
        return self.status


class Scene:
    """A worker whose process is no process: what it was asked, what it answered, what was killed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.killed: list[Any] = []
        self.left_over = False
        self.answers: queue.Queue[Response] = queue.Queue()
        self.progress: queue.Queue[Progress] = queue.Queue()
        monkeypatch.setattr(worker_process.subprocess, "Popen", self._start)
        monkeypatch.setattr(worker_process, "stop_with_descendants", lambda pid: self.killed.append(("stop", pid)))
        monkeypatch.setattr(worker_process, "kill_with_descendants", self._kill)
        monkeypatch.setattr(keeper, "end_marked", self._end_marked)
        self.worker = WorkerProcess("t", sys.executable, 3, "run-1;", network=False)

    def _start(self, command: list[str], **options: Any) -> Process:
        self.process = Process(command, **options)
        return self.process

    def _kill(self, pid: int) -> None:
        self.killed.append(("kill", pid))
        if self.process.status is None:
            self.process.said.close()
            self.process.end(-9)

    def _end_marked(self, mark: str, *, spare: int = 0) -> bool:
        self.killed.append((mark, spare) if spare else mark)
        return self.left_over

    def begin(self, name: str = "a", **more: Any) -> None:
        request = Request(id=name, worker="w:run", params={}, inputs={}, outputs={}, log=f"/log/{name}", **more)
        self.worker.begin(request, self.progress.put, self.answers.put)

    def join(self) -> None:
        """Wait for the end, and for the thread that kills what is left."""
        self.worker.join()
        for thread in threading.enumerate():
            if "_bury" in thread.name:
                thread.join(60)

    def close(self) -> None:
        if self.process.status is None:
            self.process.said.close()
            self.process.end(0)
        self.join()
        for pipe in (self.process.stdin, self.process.heard, self.process.said):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture
def scene(monkeypatch):
    one = Scene(monkeypatch)
    yield one
    one.close()


def test_a_worker_is_started_out_of_reach_and_with_its_mark(scene: Scene) -> None:
    options = scene.process.options
    assert scene.process.command == worker_process._command(sys.executable)
    assert (options["stdin"], options["stdout"], options["stderr"]) == (-1, -1, subprocess.DEVNULL)
    assert options["env"][keeper.MARK] == "run-1;"
    assert options["env"]["OMP_NUM_THREADS"] == "3"
    assert processes.out_of_reach_of_ctrl_c().items() <= options.items()
    assert (scene.worker.toolchain, scene.worker.network, scene.worker.alive, scene.worker.log) == (
        "t",
        False,
        True,
        "",
    )


def test_requests_are_lines_and_are_counted(scene: Scene) -> None:
    for number, name in enumerate(("a", "b"), 1):
        scene.begin(name)
        assert msgspec.json.decode(scene.process.heard.readline(), type=Request).id == name
        assert (scene.worker.actions, scene.worker.log) == (number, f"/log/{name}")
        scene.process.say(Response(id=name))
        assert scene.answers.get(timeout=60).id == name
        assert scene.worker.log == ""


def test_what_a_worker_imports_before_its_first_request_counts_as_none(scene: Scene) -> None:
    scene.worker.warm(Request(id="", worker="warm:run", params={}, inputs={}, outputs={}, log=""))
    assert msgspec.json.decode(scene.process.heard.readline(), type=Request).worker == "warm:run"
    assert scene.worker.actions == 0
    scene.process.say(Response(id=""))  # answers no request
    scene.begin()
    scene.process.say(Response(id="a", facts={"x": 1}))
    assert scene.answers.get(timeout=60) == Response(id="a", facts={"x": 1})


def test_progress_and_the_answer_reach_who_asked_and_messages_of_others_do_not(scene: Scene) -> None:
    scene.begin()
    for message in (Progress(id="b", text="other"), Response(id="b"), Progress(id="a", text="half"), Response(id="a")):
        scene.process.say(message)
    assert scene.answers.get(timeout=60) == Response(id="a")
    assert scene.progress.get(timeout=60) == Progress(id="a", text="half")
    assert (scene.progress.empty(), scene.answers.empty()) == (True, True)


def test_an_end_without_an_answer_is_a_failure_of_the_request(scene: Scene) -> None:
    scene.begin()
    scene.process.end(3)  # first, or the listener may find a closed pipe of a process that still runs
    scene.process.said.close()
    answer = scene.answers.get(timeout=60)
    assert (answer.id, answer.failure, answer.seconds >= 0, answer.seconds < 60) == ("a", ENDED, True, True)
    assert scene.worker.alive is False
    scene.join()
    assert ("kill", PID) in scene.killed  # what it left behind
    assert "run-1;" in scene.killed


def test_a_worker_that_closes_its_output_and_goes_on_is_stopped(scene: Scene) -> None:
    scene.begin()
    scene.process.said.close()
    assert scene.answers.get(timeout=60).failure == CLOSED
    assert scene.process.status == -9


def test_a_request_to_a_worker_that_has_ended_fails_at_once(scene: Scene) -> None:
    scene.process.end(3)  # first, or the listener may find a closed pipe of a process that still runs
    scene.process.said.close()
    scene.worker._listener.join(10)
    scene.process.heard.close()  # nobody reads
    scene.begin()
    assert scene.answers.get(timeout=60).failure == ENDED


def test_the_first_reason_to_kill_a_worker_is_the_one_that_counts(scene: Scene) -> None:
    scene.begin()
    late = Failure(code="OBE62", message="late")
    scene.worker.kill(late)
    scene.worker.interrupt()
    assert scene.answers.get(timeout=60).failure == late


def test_an_interrupted_worker_says_so(scene: Scene) -> None:
    scene.begin()
    scene.worker.interrupt()
    assert scene.answers.get(timeout=60).failure == INTERRUPTED


def test_nonsense_ends_the_worker(scene: Scene) -> None:
    scene.begin()
    scene.process.said.write(b'{"type":"response","id":"a","facts":3}\n')
    failure = scene.answers.get(timeout=60).failure
    assert failure is not None
    assert failure.code == "OBE72"
    assert scene.process.status == -9


def test_what_ran_somebody_elses_code_ends_with_its_answer_and_all_that_it_started(scene: Scene) -> None:
    scene.begin(confined=True)
    scene.process.say(Response(id="a", facts={"x": 1}))
    assert scene.answers.get(timeout=60) == Response(id="a", facts={"x": 1}, retire=True)
    assert scene.killed[:3] == [("stop", PID), ("kill", PID), "run-1;"]
    assert scene.worker.alive is False


@pytest.mark.parametrize("left_over", [True, False])
def test_where_a_worker_cannot_end_what_it_left_the_command_does(monkeypatch, *, left_over: bool) -> None:
    monkeypatch.setattr(keeper, "has_proc", lambda: False)
    scene = Scene(monkeypatch)
    scene.left_over = left_over
    scene.begin()
    scene.process.say(Response(id="a"))
    assert scene.answers.get(timeout=60) == Response(id="a", retire=left_over)
    assert scene.killed == [("run-1;", PID)]  # all but the worker itself
    scene.close()


def test_with_proc_a_worker_ends_what_it_left_itself(monkeypatch) -> None:
    monkeypatch.setattr(keeper, "has_proc", lambda: True)
    scene = Scene(monkeypatch)
    scene.begin()
    scene.process.say(Response(id="a"))
    assert scene.answers.get(timeout=60) == Response(id="a")
    assert scene.killed == []
    scene.close()


def test_a_stopped_worker_sees_the_end_of_its_input_and_one_that_stays_is_killed(scene: Scene) -> None:
    scene.worker.stop()
    assert scene.process.heard.read() == b""
    scene.worker.join()  # it has not ended
    assert scene.process.status == -9
    assert ("kill", PID) in scene.killed


# -- ending processes --------------------------------------------------------------------------------------------------


def test_a_process_is_stopped_before_what_it_started_is_killed_until_nothing_is_left(monkeypatch) -> None:
    events: list[Any] = []
    rounds = iter([True, True, False])
    monkeypatch.setattr(processes.os, "kill", lambda *given: events.append(given))
    monkeypatch.setattr(processes, "_kill_below", lambda pid: events.append(pid) or next(rounds))
    processes.stop_with_descendants(7)
    assert events == [(7, signal.SIGSTOP), 7, 7, 7]


def test_one_that_forks_without_end_does_not_hold_the_command_up(monkeypatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(processes.os, "kill", lambda *_given: None)
    monkeypatch.setattr(processes, "_kill_below", lambda pid: not asked.append(pid))
    processes.stop_with_descendants(7)
    assert len(asked) == 100


class Tree:
    """A process of psutil with its children."""

    def __init__(self, status: str = "running", *children: Tree, gone: bool = False) -> None:
        self._status, self._children, self._gone = status, children, gone
        self.killed = False

    def children(self, *, recursive: bool) -> list[Tree]:
        below = [one for child in self._children for one in child.children(recursive=True)] if recursive else []
        return [*self._children, *below]

    def status(self) -> str:
        return self._status

    def kill(self) -> None:
        import psutil

        if self._gone:
            raise psutil.NoSuchProcess(1)
        self.killed = True


def test_of_the_processes_below_one_all_that_run_are_killed(monkeypatch) -> None:
    import psutil

    grandchild, zombie, gone, last = Tree(), Tree(psutil.STATUS_ZOMBIE), Tree(gone=True), Tree()
    root = Tree("running", zombie, gone, Tree("running", grandchild), last)
    monkeypatch.setattr(psutil, "Process", {7: root}.__getitem__)
    assert processes._kill_below(7)
    assert [one.killed for one in (root, zombie, gone, grandchild, last)] == [False, False, False, True, True]


@pytest.mark.parametrize("children", [(), ("zombie",), ("gone",)])
def test_where_nothing_runs_below_a_process_nothing_is_killed(monkeypatch, children: tuple[str, ...]) -> None:
    import psutil

    below = [Tree(psutil.STATUS_ZOMBIE if one == "zombie" else "running", gone=one == "gone") for one in children]
    monkeypatch.setattr(psutil, "Process", lambda _pid: Tree("running", *below))
    assert processes._kill_below(7) is False


def test_without_process_groups_the_whole_tree_is_killed(monkeypatch) -> None:
    import psutil

    grandchild, gone = Tree(), Tree(gone=True)
    root = Tree("running", gone, Tree("running", grandchild))
    monkeypatch.setattr(psutil, "Process", {7: root}.__getitem__)
    monkeypatch.setattr(processes, "os", SimpleNamespace())
    processes.kill_with_descendants(7)
    assert [one.killed for one in (root, grandchild)] == [True, True]


@pytest.mark.parametrize("error", [None, ProcessLookupError, PermissionError])
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups of POSIX")
def test_a_process_is_killed_with_its_group(monkeypatch, error: type[OSError] | None) -> None:
    killed: list[Any] = []

    def killpg(*given: Any) -> None:
        killed.append(given)
        if error is not None:
            raise error

    monkeypatch.setattr(processes.os, "killpg", killpg)
    processes.kill_with_descendants(7)
    assert killed == [(7, signal.SIGKILL)]


@pytest.mark.skipif(not keeper.has_proc(), reason="a keeper without /proc needs psutil of its own interpreter")
def test_a_keeper_outlives_the_signals_that_end_a_command_and_ends_with_its_pipe() -> None:
    process = subprocess.Popen(keeper.command("no-such-mark"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        assert process.stdin is not None
        # It ignores signals once it reads: /proc says so.
        end = time.monotonic() + 60
        while not _ignores(process.pid, signal.SIGTERM):
            assert process.poll() is None
            assert time.monotonic() < end
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        process.stdin.write(b"x")
        process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.stdin.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def _ignores(pid: int, number: int) -> bool:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        mask = next(line.split()[1] for line in file if line.startswith("SigIgn:"))
    return bool(int(mask, 16) >> (number - 1) & 1) and bool(int(mask, 16) >> (signal.SIGHUP - 1) & 1)
