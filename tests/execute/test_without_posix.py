"""The engine without what only Linux and POSIX have: no flock, process groups, /proc, affinity or clones.

The other tests run once more in a process in which the plugin `without_posix` hides all of that. What Windows does
differently (names, modes, links) is tested on Windows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from plugin.world import World

from onnxbuild.planning import toolchains
from onnxbuild.runners import keeper, processes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it simulates a system like Windows")

TESTS = Path(__file__).parents[1]
WITHOUT = "import without_posix\n"
CHILD = "import sys, time\nprint('up', flush=True)\ntime.sleep(60)\n"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


def run_hidden(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


# Real servers and hostile ones meet the store of `test_remote.py`; the others reach nothing that is hidden.
ELSEWHERE = {"test_servers.py", "test_hostile_servers.py", "test_webdav_answers.py", "test_address.py",
             "test_other_schemes.py"}  # fmt: skip


def test_the_light_tests_of_the_engine_pass(amount: Callable) -> None:
    store = {path.name for path in (TESTS / "store").glob("test_*.py")}
    assert store >= ELSEWHERE
    light = [*(f"store/{name}" for name in sorted(amount(store - ELSEWHERE, store))), "execute/test_kept_keys.py",
             "execute/test_rebuild.py", "execute/test_schedule.py", "test_machine.py"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "without_posix", "-p", "no:cacheprovider", "-m", "not heavy",
         *light],
        cwd=TESTS, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, check=False,
        timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.skipif(sys.platform != "linux", reason="counts processes in /proc")
def test_the_command_runs_real_workers_and_leaves_none(tmp_path: Path) -> None:
    """A worker starts a daemon in a new session; the command sees neither /proc nor process groups."""
    world = World(tmp_path)
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import without_posix\n")
    world.environment["PYTHONPATH"] = os.pathsep.join([str(hidden), str(TESTS), world.environment["PYTHONPATH"]])
    world.manifest({"bad": [{"do": "daemon", "text": "x"}], "good": [{"text": "good"}]})
    ended = world.run("--json")
    assert ended.code == 0, ended
    assert set(ended.outcomes().values()) == {"built"}
    assert world.wait_for_silence() == []
    assert world.left_behind() == []
    assert set(world.run("--json").outcomes().values()) == {"hit"}


def test_what_is_hidden_is_hidden() -> None:
    done = run_hidden(
        "from onnxbuild.store import files\n"
        "from onnxbuild.store.locking import file_lock\n"
        "from onnxbuild.runners import keeper\n"
        "from onnxbuild.machine import this_machine, usable_cores, available_memory\n"
        "assert not file_lock.HAS_FLOCK and files.fcntl is None\n"
        "assert not keeper.has_proc()\n"
        "assert this_machine().flags == () and usable_cores() >= 1 and available_memory() > 0\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_worker_started_is_found_and_killed_by_psutil() -> None:
    mark = f"without-posix-{os.getpid()};"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], env=os.environ | {keeper.MARK: mark}, stdout=subprocess.PIPE, text=True
    )
    child = int(parent.stdout.readline())
    done = run_hidden(f"from onnxbuild.runners.keeper import end_marked\nend_marked({mark!r})\n")
    assert (done.returncode, done.stderr) == (0, "")
    parent.communicate(timeout=10)
    assert wait_until_gone(child)


def test_a_process_and_its_children_are_killed_without_process_groups() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    done = run_hidden(
        f"from onnxbuild.runners.processes import kill_with_descendants\nkill_with_descendants({parent.pid})"
    )
    assert (done.returncode, done.stderr) == (0, "")
    parent.communicate(timeout=10)
    assert wait_until_gone(child)


def test_a_keeper_without_proc_outlives_the_command_and_ends_its_workers() -> None:
    mark = f"keeper-{os.getpid()}"
    worker = subprocess.Popen(
        [sys.executable, "-c", CHILD], env=os.environ | {keeper.MARK: f"{mark}-1;"}, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout.readline() == "up\n"
    # The keeper as another system starts it; it hides /proc from itself, since it imports nothing of the tests.
    code = f"import runpy, os, sys; sys.argv = ['keeper', {mark!r}]; os.path.exists = lambda _path: False; "
    code += f"runpy.run_path({keeper.__file__!r}, run_name='__main__')"
    process = subprocess.Popen([sys.executable, "-I", "-c", code], stdin=subprocess.PIPE)
    time.sleep(0.3)
    assert worker.poll() is None
    process.stdin.close()  # as when the command ends
    assert process.wait(timeout=20) == 0
    worker.communicate(timeout=10)
    assert worker.returncode != 0


def wait_until_gone(process: int) -> bool:
    until = time.monotonic() + 10
    while psutil.pid_exists(process) and time.monotonic() < until:
        time.sleep(0.02)
        try:
            if psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
    return not psutil.pid_exists(process)


@pytest.mark.parametrize(("platform", "python"), [("win32", ("Scripts", "python.exe")), ("darwin", ("bin", "python"))])
def test_the_interpreter_of_an_environment(monkeypatch, tmp_path: Path, platform: str, python: tuple[str, str]) -> None:
    monkeypatch.setattr(toolchains.sys, "platform", platform)
    assert toolchains.python_of(tmp_path) == tmp_path.joinpath(*python)


def test_a_run_with_nothing_to_do_imports_neither_psutil_nor_filelock() -> None:
    code = (
        "import sys\n"
        "import onnxbuild.cli, onnxbuild.commands.run, onnxbuild.runners.local, onnxbuild.execute.schedule\n"
        "print(sorted({'psutil', 'filelock', 'platformdirs', 'ctypes'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(TESTS.parent)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_ctrl_c_does_not_reach_a_worker(monkeypatch) -> None:
    assert processes.out_of_reach_of_ctrl_c() == {"start_new_session": True}
    monkeypatch.setattr(processes.sys, "platform", "win32")
    monkeypatch.setattr(processes.subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)
    assert processes.out_of_reach_of_ctrl_c() == {"creationflags": 512}
