"""What a command does where stdout or stderr is closed or takes nothing."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from plugin.world import Ended, World

STEPS = {"one": [{"text": "1"}], "two": [{"text": "22"}]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path / "world")
    made.manifest(STEPS)
    return made


def in_shell(world: World, redirections: str, *arguments: str, verb: str = "run") -> Ended:
    line = f"{shlex.join(world.command(*arguments, verb=verb))} {redirections}"
    done = subprocess.run(
        ["sh", "-c", line], cwd=world.root, env=world.environment, text=True, capture_output=True, check=False,
        stdin=subprocess.DEVNULL, timeout=120,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("redirections", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", [(), ("--json",), ("-q",)])
def test_a_run_with_closed_streams_builds(world: World, redirections: str, arguments: tuple[str, ...]) -> None:
    done = in_shell(world, redirections, *arguments)
    assert done.code == 0, done
    assert "Traceback" not in done.err
    assert "internal error" not in done.err
    assert set(world.delivered()) == {"one", "two"}
    assert (world.store / "traces.db").read_bytes().startswith(b"SQLite format 3\0")
    assert set(world.run("--json", "m/two").outcomes().values()) == {"hit"}


@pytest.mark.parametrize("verb", ["plan", "lint", "status"])
def test_other_commands_end_as_usual_without_stdout(world: World, verb: str) -> None:
    line = shlex.join([sys.executable, "-m", "onnxbuild", verb, "manifest.yaml"])
    done = subprocess.run(
        ["sh", "-c", f"{line} >&-"], cwd=world.root, env=world.environment, text=True, capture_output=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_fault_keeps_its_exit_code_without_stderr(world: World) -> None:
    (world.root / "manifest.yaml").write_text(json.dumps({"onnxbuild": 1, "modells": {}}))
    assert in_shell(world, "2>&-").code == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [(), ("--json",), ("-q",)])
def test_a_full_disk_behind_stdout_does_not_change_the_result_of_a_build(
    world: World, arguments: tuple[str, ...]
) -> None:
    done = in_shell(world, ">/dev/full", *arguments)
    assert done.code == 0, done
    assert done.err.splitlines()[-1] == "onnxbuild: cannot write to stdout: No space left on device"
    assert "internal error" not in done.err
    assert set(world.delivered()) == {"one", "two"}
