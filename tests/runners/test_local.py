"""The local runner without a command around it: what it loads, what it starts, and how it closes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from plugin.world import PLUGIN

from onnxbuild.protocol import Failure, Request
from onnxbuild.runners.environments import Current, Unusable
from onnxbuild.runners.local import LocalRunner


def request(tmp_path: Path, code: str = "", **more: object) -> Request:
    settings = {"id": "a", "inputs": {}, "outputs": {}, "log": str(tmp_path / "log"), **more}
    return Request(worker="toy_steps.stranger:run", params={"code": code}, **settings)


@pytest.fixture
def plugin(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))


def test_a_run_with_nothing_to_do_loads_nothing_that_starts_workers() -> None:
    code = """
import sys
from onnxbuild.commands import workspace
from onnxbuild.runners.local import LocalRunner
LocalRunner(jobs=2).close()
print(*sorted(name for name in sys.modules if name.startswith("onnxbuild.") or name == "psutil"))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    starting = {"worker_process", "worker_environment", "messages", "log_watch", "command_output"}
    forbidden = {f"onnxbuild.runners.{name}" for name in starting} | {"psutil", "onnxbuild.confinement"}
    assert forbidden & set(done.stdout.split()) == set()


class NoSecond(Current):
    """An environment that is lost once the first worker has started."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def interpreter(self, say: object, run: object) -> str:
        self.asked += 1
        if self.asked > 1:
            raise Unusable(Failure(code="OBE65", message="lost"))
        return sys.executable


@pytest.mark.usefixtures("plugin")
def test_an_environment_that_cannot_be_used_for_a_second_worker_harms_no_action(tmp_path: Path) -> None:
    environment = NoSecond()
    runner = LocalRunner({"current": environment}, jobs=2)
    try:
        answer = runner.submit("current", request(tmp_path, "", warms=("wave",)), lambda _: None)
        assert answer.result(30).failure is not None  # the request has no inputs
        assert environment.asked == 2
    finally:
        runner.close()


@pytest.mark.usefixtures("plugin")
def test_closing_ends_a_worker_that_still_warms_up(tmp_path: Path) -> None:
    runner = LocalRunner(jobs=2)
    waiting = runner.submit(
        "current", request(tmp_path, "import time; time.sleep(600)", warms=("wave",)), lambda _: None
    )
    began = time.monotonic()
    runner.close()
    response = waiting.result(10)
    assert response.failure is not None
    assert response.failure.code == "OBE60"
    assert time.monotonic() - began < 30
    assert [one.alive for one in runner._all if one.alive] == []
    assert runner._idle == []
    assert not any(thread.name == "logs" for thread in threading.enumerate())
