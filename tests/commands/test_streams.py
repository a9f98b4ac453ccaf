"""What a command does where stdout or stderr is closed or takes nothing."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from plugin.world import Ended, World

from onnxbuild.version import __version__

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


READER_LEAVES = "| head -c 1 > /dev/null; exit ${PIPESTATUS[0]}"
CASES = {"run": 0, "plan": 0, "graph": 0, "status": 0, "lint": 2}


def in_bash(world: World, verb: str, redirections: str) -> Ended:
    if verb == "lint":  # as many faults as fill the pipe
        models = {f"m{number}": {"source": "onnx:missing", "nonsense": 1} for number in range(400)}
        (world.root / "manifest.yaml").write_text(json.dumps({"onnxbuild": 1, "models": models}))
    line = f"{shlex.join([sys.executable, '-m', 'onnxbuild', verb, 'manifest.yaml'])} {redirections}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=world.root, env=world.environment, text=True, capture_output=True, check=False,
        timeout=120,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("verb", CASES)
def test_a_reader_that_goes_away_changes_no_exit_code(world: World, verb: str) -> None:
    done = in_bash(world, verb, READER_LEAVES)
    assert done.code == CASES[verb], done
    assert "Traceback" not in done.err
    assert "cannot write" not in done.err
    assert verb != "run" or set(world.delivered()) == {"one", "two"}


def test_a_failed_build_stays_one_without_a_reader(world: World) -> None:
    world.manifest({"one": [{"do": "exit", "number": 3}], "two": [{"text": "2"}]})
    done = in_bash(world, "run", READER_LEAVES)
    assert done.code == 1, done
    assert set(world.delivered()) == {"two"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(("verb", "redirections", "code"), [
    ("plan", ">/dev/full", 1), ("lint", ">/dev/full", 2), ("graph", ">/dev/full", 1), ("graph", ">&-", 1),
    ("status", ">/dev/full", 1), ("run", "-n >/dev/full", 1), ("run", ">/dev/full 2>/dev/full", 0),
    ("graph", ">/dev/full 2>&-", 1), ("lint", "2>/dev/full", 2), ("run", "--help >/dev/full", 1),
])  # fmt: skip
def test_a_result_that_cannot_be_written_is_a_failure(world: World, verb: str, redirections: str, code: int) -> None:
    done = in_bash(world, verb, redirections)
    assert done.code == code, done
    assert "Traceback" not in done.err
    if "2>" not in redirections:
        assert "onnxbuild: cannot write to stdout: " in done.err


def test_the_version_is_on_stdout(world: World) -> None:
    done = world.run_arguments([sys.executable, "-m", "onnxbuild", "--version"])
    assert (done.code, done.out, done.err) == (0, f"onnxbuild {__version__}\n", "")
