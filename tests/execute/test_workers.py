"""Workers that misbehave: each causes one failed action with its message, the rest is built, and no process is left."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from plugin.world import Ended, World

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts processes in /proc")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


GOOD = [{"text": "good"}]


def one_bad(world: World, *arguments: str, **deed: object) -> Ended:
    """Build a target that misbehaves and one that does not; the good one must exist whatever happens."""
    world.manifest({"bad": [deed], "good": GOOD})
    ended = world.run("--json", *arguments)
    assert ended.outcomes() == {"m:fetch": "built", "m/bad:toy": "failed", "m/good:toy": "built"}, ended
    assert ended.code == 1
    assert world.delivered() == {"good": b"model " * 2000 + b"good"}
    assert world.wait_for_silence() == []
    assert world.left_behind() == []
    assert world.damaged_blobs() == []
    return ended


def failure(ended: Ended) -> tuple[str, str]:
    found = ended.actions()["m/bad:toy"]["failure"]
    return found["code"], found["message"]


@pytest.mark.parametrize(
    ("deed", "code", "message"),
    [
        ({"do": "exit", "number": 3}, "OBE61", "the worker ended by itself with exit status 3"),
        ({"do": "exit", "number": 0}, "OBE61", "the worker ended by itself with exit status 0"),
        (
            {"do": "exit", "number": 137},
            "OBE05",
            "the worker was killed (signal 9), most likely because memory ran out",
        ),
        ({"do": "scribble"}, "OBE61", "the worker died of SIGSEGV"),
        ({"do": "die", "number": signal.SIGABRT}, "OBE61", "the worker died of SIGABRT"),
        ({"do": "die", "number": signal.SIGTERM}, "OBE61", "the worker died of SIGTERM"),
        (
            {"do": "die", "number": signal.SIGKILL},
            "OBE05",
            "the worker was killed (signal 9), most likely because memory ran out",
        ),
        ({"do": "partial"}, "OBE05", "the worker was killed (signal 9), most likely because memory ran out"),
        ({"do": "fork", "number": 7}, "OBE61", "the worker ended by itself with exit status 7"),
        ({"do": "hog", "number": 1 << 29}, "OBE05", "out of memory"),
        ({"do": "nothing"}, "OBE64", "the worker left output `model` empty"),
        ({"do": "pipe"}, "OBE64", "the worker left `pipe` in output `model`, which is not a regular file"),
        ({"do": "not-plain"}, "OBE99", "TypeError: Encoding objects of type object is unsupported"),
        ({"do": "close", "seconds": 60.0}, "OBE61", "the worker closed its end of the pipe and was stopped"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)  # fmt: skip
def test_one_failed_action(world: World, deed: dict, code: str, message: str) -> None:
    assert failure(one_bad(world, **deed)) == (code, message)


def test_a_worker_that_hangs_is_stopped_at_the_time_limit_although_it_ignores_signals(world: World) -> None:
    began = time.monotonic()
    ended = one_bad(world, "--timeout", "1", do="hang", seconds=60.0)
    assert failure(ended) == ("OBE62", "did not end within 1 seconds and was stopped")
    assert time.monotonic() - began < 20


def test_a_daemon_that_a_worker_left_holds_nothing_up(world: World) -> None:
    """It has its own session, so no signal to the worker's group reaches it, and it writes into the output."""
    world.manifest({"bad": [{"do": "daemon", "text": "x"}], "good": GOOD})
    ended = world.run("--json")
    assert ended.code == 0, ended
    assert world.wait_for_silence() == []
    assert world.damaged_blobs() == []
    assert world.torn_folders() == []


def test_a_child_that_writes_after_the_end_of_its_action_does_not_change_the_result(world: World) -> None:
    world.manifest({"bad": [{"do": "child", "text": "x", "number": 60}, {"text": "next"}], "good": GOOD})
    began = time.monotonic()
    ended = world.run("--json")
    assert ended.code == 0, ended
    assert time.monotonic() - began < 20
    assert world.wait_for_silence() == []
    assert world.damaged_blobs() == []
    assert world.torn_folders() == []
    assert world.delivered()["bad"].endswith(b"next")


def test_megabytes_of_output_go_to_the_log(world: World) -> None:
    world.manifest({"loud": [{"do": "shout", "number": 8 << 20}]})
    ended = world.run()
    assert ended.code == 0, ended
    assert len(ended.out) + len(ended.err) < 2000
    log = world.root / ".onnxbuild" / "logs" / "m+loud+toy.txt"
    assert 8 << 20 <= log.stat().st_size < 9 << 20
    assert b"straight to the descriptor" in log.read_bytes()


def test_garbage_on_the_pipe_is_passed_over(world: World) -> None:
    world.manifest({"a": [{"do": "garbage", "text": "x"}]})
    assert world.run("--json").outcomes() == {"m:fetch": "built", "m/a:toy": "built"}


def test_a_link_that_a_worker_leaves_is_stored_as_a_file(world: World) -> None:
    world.manifest({"a": [{"do": "link"}]})
    assert world.run().code == 0
    assert not [path for path in (world.store / "blobs").rglob("*") if path.is_symlink()]
    assert world.delivered() == {"a": b"model " * 2000}


def test_the_failure_names_the_log_and_the_log_is_kept(world: World) -> None:
    ended = one_bad(world, do="hog", number=1 << 29)
    log = Path(ended.actions()["m/bad:toy"]["log"])
    assert "MemoryError" in log.read_text()


def test_workers_are_reused(world: World) -> None:
    world.manifest({f"t{number}": [{"text": str(number)}] for number in range(12)})
    actions = world.run("--json", "-j", "2").actions()
    pids = {line["facts"]["pid"] for line in actions.values() if line["kind"] == "toy"}
    assert len(pids) <= 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process_and_the_next_run_continues(world: World, tmp_path: Path, number: int) -> None:
    tally = tmp_path / "tally"
    world.manifest({"quick": [{"text": "q", "tally": str(tally)}], "slow": [{"text": "s", "seconds": 30.0}]})
    process = world.start("--json")
    wait_for(lambda: tally.exists() and any((world.store / "work").glob("*/*/outputs/model/*")))
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    ended = Ended(process.returncode, out, err)
    assert ended.code == 130, ended
    assert ended.outcomes() == {"m:fetch": "built", "m/quick:toy": "built", "m/slow:toy": "skipped"}
    assert ended.lines()[-1]["interrupted"] is True
    assert "Traceback" not in err
    assert world.wait_for_silence() == []
    assert world.left_behind() == []
    world.manifest({"quick": [{"text": "q", "tally": str(tally)}], "slow": [{"text": "s"}]})
    assert world.run("--json").outcomes() == {"m:fetch": "hit", "m/quick:toy": "hit", "m/slow:toy": "built"}


def test_a_second_interrupt_ends_at_once(world: World) -> None:
    world.manifest({"slow": [{"do": "hang", "seconds": 30.0}]})
    process = world.start()
    wait_for(lambda: len(world.processes()) >= 3)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert world.wait_for_silence() == []


@pytest.mark.parametrize("do", ["hang", "child", "daemon"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_the_death_of_the_command_leaves_no_writer(world: World, do: str, number: int) -> None:
    """Neither a worker nor its children, not even those that opened a new session."""
    world.manifest({"a": [{"do": do, "seconds": 60.0, "number": 60}]})
    process = world.start()
    wait_for(lambda: any((world.store / "work").glob("*/*/outputs/model")) and len(world.processes()) >= 3)
    time.sleep(0.3)
    os.kill(process.pid, number)
    process.communicate(timeout=20)
    assert world.wait_for_silence() == []


def noting(world: World, **more: object) -> Path:
    """A manifest whose step notes five values in its journal; the file that gets a line for each that it finds."""
    tally = world.root / "tally"
    world.manifest({"a": [{"do": "note", "tally": str(tally), **more}]})
    return tally


def journals(world: World) -> list[str]:
    return [path.name for path in (world.store / "journals").glob("*")]


def test_a_killed_action_continues_where_it_was(world: World) -> None:
    tally = noting(world)
    process = world.start()
    wait_for(lambda: tally.exists() and tally.read_text() == "1\n2\n3\n")
    process.kill()
    process.communicate(timeout=20)
    assert world.wait_for_silence() == []
    (kept,) = journals(world)
    Path(f"{tally}.go").touch()
    ended = world.run("--json")
    assert ended.outcomes() == {"m:fetch": "hit", "m/a:toy": "built"}
    assert tally.read_text() == "1\n2\n3\n3\n4\n5\n"  # only what was being found is found again
    assert ended.actions()["m/a:toy"]["facts"]["found"] == [1, 4, 9, 16, 25]
    assert kept == ended.actions()["m/a:toy"]["key"]
    assert journals(world) == []


def test_a_failed_action_finds_nothing_again_and_a_forced_one_everything(world: World) -> None:
    tally = noting(world, number=1)
    Path(f"{tally}.go").touch()
    for _ in range(2):
        assert world.run("--json").outcomes()["m/a:toy"] == "failed"
    assert tally.read_text() == "1\n2\n3\n4\n5\n"
    assert world.run("--json", "--force", "m/a:toy").outcomes()["m/a:toy"] == "failed"
    assert tally.read_text() == "1\n2\n3\n4\n5\n" * 2
    assert len(journals(world)) == 1
    (world.store / "journals" / "notes of somebody").mkdir()
    assert world.run_arguments(world.command(verb="gc")).code == 0
    assert journals(world) == ["notes of somebody"]


def test_a_terminal_that_goes_away_is_no_error_of_ours(world: World) -> None:
    world.manifest({"a": [{"text": "x"}]})
    process = world.start()
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=30) in {0, -signal.SIGPIPE, 1}
    assert world.run("--json").code == 0


def test_progress_says_who_is_waited_for(world: World) -> None:
    world.manifest({"a": [{"text": "x", "seconds": 2.0}]})
    first = world.start("--json")
    wait_for(lambda: any((world.store / "work").glob("*/*/outputs/model/model.onnx")))
    second = world.run("--json")
    first.communicate(timeout=30)
    said = [line["text"] for line in second.lines() if line["event"] == "progress" and "waiting" in line["text"]]
    assert len(said) == 1
    found = re.fullmatch(r"waiting for pid (\d+) \((.*)\), which is building the same result", said[0])
    assert found is not None
    assert int(found[1]) == first.pid
    assert "run manifest.yaml" in found[2]
    assert second.outcomes() == {"m:fetch": "hit", "m/a:toy": "hit"}


def wait_for(condition: object, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)
