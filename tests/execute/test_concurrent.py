"""Several runs on one store at the same time: each action runs once, no run breaks another, and readers never wait."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from plugin.world import Ended, World, torn

from onnxbuild.store.store import Store

fcntl = pytest.importorskip("fcntl")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts processes in /proc")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def steps(tally: Path, mine: str = "", seconds: float = 0.15) -> dict[str, list[dict]]:
    """A target that all manifests share, and one that is different in each."""
    shared = {"text": "shared ", "seconds": seconds, "tally": str(tally)}
    return {
        "ours": [shared, {"text": "ours ", "seconds": seconds, "tally": str(tally)}],
        "mine": [shared, {"text": f"mine{mine} ", "seconds": seconds, "tally": str(tally)}],
    }


def finish(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out, err)


def counted(tally: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in tally.read_text().splitlines())


def test_runs_of_one_manifest_build_each_action_once(world: World, tmp_path: Path) -> None:
    tally = tmp_path / "tally"
    world.manifest(steps(tally))
    ended = [finish(process) for process in [world.start("--json", "-j", "3") for _ in range(6)]]
    assert [one.code for one in ended] == [0] * 6, ended
    assert counted(tally) == {"shared": 1, "ours": 1, "mine": 1}
    for action in ("m:fetch", "m/ours:toy", "m/ours:toy-2", "m/mine:toy-2"):
        assert sorted(one.outcomes()[action] for one in ended) == ["built", *["hit"] * 5]
    assert world.delivered() == {"ours": b"model " * 2000 + b"shared ours ", "mine": b"model " * 2000 + b"shared mine "}
    assert world.left_behind() == []
    assert world.torn_folders() == []


def test_runs_of_different_manifests_share_what_is_the_same(world: World, tmp_path: Path) -> None:
    tally = tmp_path / "tally"
    names = [f"manifest{number}.yaml" for number in range(5)]
    for number, name in enumerate(names):
        world.manifest(steps(tally, str(number)), name)
    started = [world.start("--json", "--out", f"out{name}", name=name) for name in names]
    ended = [finish(process) for process in started]
    assert [one.code for one in ended] == [0] * 5, ended
    assert counted(tally) == {"shared": 1, "ours": 1} | {f"mine{number}": 1 for number in range(5)}
    assert world.left_behind() == []


def test_a_new_store_is_made_by_many_at_once(world: World) -> None:
    world.manifest({"a": [{"text": "a"}]})
    for _ in range(3):
        subprocess.run(["rm", "-rf", world.store, world.root / "out"], check=True)
        ended = [finish(process) for process in [world.start() for _ in range(8)]]
        assert [one.code for one in ended] == [0] * 8, ended


def test_who_waits_for_a_failing_run_runs_itself(world: World, tmp_path: Path) -> None:
    """A failure is not shared: a run that waited for a failed build builds by itself, and reports its own failure."""
    tally = tmp_path / "tally"
    world.manifest({"a": [{"do": "nothing", "tally": str(tally), "text": "a", "seconds": 0.3}]})
    ended = [finish(process) for process in [world.start("--json") for _ in range(3)]]
    assert [one.code for one in ended] == [1, 1, 1]
    assert counted(tally) == {"a": 3}


def test_a_killed_builder_leaves_the_lock_to_who_waits(world: World, tmp_path: Path) -> None:
    tally = tmp_path / "tally"
    world.manifest({"a": [{"text": "a", "seconds": 2.0, "tally": str(tally)}]})
    first = world.start("--json")
    wait_for(tally.exists)
    second = world.start("--json")
    wait_for(lambda: said(second, "waiting"))
    first.kill()
    first.communicate()
    ended = finish(second)
    assert ended.code == 0
    assert ended.outcomes() == {"m/a:toy": "built"}  # the line of the fetch was skipped above
    assert counted(tally) == {"a": 2}
    assert world.wait_for_silence() == []
    assert world.left_behind() == []


def said(process: subprocess.Popen[str], word: str) -> bool:
    """Whether a line with this word came; skips the lines before it."""
    assert process.stdout is not None
    return word in process.stdout.readline()


def test_a_lock_of_a_dead_process_is_no_obstacle(world: World) -> None:
    world.manifest({"a": [{"text": "a"}]})
    assert world.run().code == 0
    keys = [line["key"] for line in world.run("--json", "--force").actions().values()]
    (world.store / "locks").mkdir(exist_ok=True)
    for key in keys:
        (world.store / "locks" / key).write_text(json.dumps({"pid": 999_999_999, "command": "gone", "since": 0.0}))
    leftover = world.store / "work" / "999999999-deadbeef"
    leftover.mkdir(parents=True)
    (leftover / "owner").write_text("")
    (leftover / "half").write_text("half a model")
    ended = world.run("--json", "--force")
    assert ended.code == 0
    assert not [line for line in ended.lines() if "waiting" in line.get("text", "")]
    assert world.left_behind() == []


def test_readers_never_wait(world: World) -> None:
    """`plan`, `explain`, `graph`, `lint` and `run -n` answer while every lock of the store is held."""
    world.manifest({"a": [{"text": "a"}]})
    assert world.run().code == 0
    keys = [line["key"] for line in world.run("--json", "--force").actions().values()]
    world.manifest({"a": [{"text": "b"}]})
    (world.store / "locks").mkdir(exist_ok=True)
    held = [os.open(place, os.O_RDWR | os.O_CREAT) for place in
            [world.store / "sweeping", *(world.store / "locks" / key for key in keys)]]  # fmt: skip
    for descriptor in held:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    began = time.monotonic()
    assert world.run(verb="plan").code == 0
    assert world.run("-n").code == 0
    assert world.run(verb="graph").code == 0
    explained = finish(world.start("-m", "manifest.yaml", verb="explain", name="m/a:toy"))
    assert explained.code == 0, explained
    assert time.monotonic() - began < 10
    for descriptor in held:
        os.close(descriptor)


def test_readers_do_not_wait_for_a_writer_of_the_database(world: World) -> None:
    import sqlite3

    world.manifest({"a": [{"text": "a"}]})
    assert world.run().code == 0
    database = sqlite3.connect(world.store / "traces.db")
    database.execute("BEGIN IMMEDIATE")
    os.utime(world.root / "model" / "model.onnx")  # so that a plan has something to remember
    began = time.monotonic()
    planned = world.run(verb="plan")
    assert planned.code == 0
    assert planned.out.endswith("up to date: 2 actions, nothing to do\n")
    assert time.monotonic() - began < 5
    database.rollback()
    database.close()


def test_outputs_are_whole_at_every_moment(world: World) -> None:
    """One run after the other replaces a folder while somebody reads it all the time."""
    torn_folders: list[Path] = []
    over = threading.Event()

    def watch() -> None:
        folder = world.root / "out" / "m" / "a"
        while not over.is_set():
            if folder.exists() and torn(folder):
                torn_folders.append(folder)

    world.manifest({"a": [{"text": "0"}]})
    assert world.run().code == 0
    reader = threading.Thread(target=watch)
    reader.start()
    try:
        for number in range(1, 8):
            world.manifest({"a": [{"text": str(number)}]})
            assert world.run().code == 0
    finally:
        over.set()
        reader.join()
    assert torn_folders == []
    assert world.delivered() == {"a": b"model " * 2000 + b"7"}


def test_a_run_that_begins_while_another_sweeps_keeps_its_work(tmp_path: Path) -> None:
    """Openings and sweepings of one store at once: no work folder of a living run goes."""
    lost: list[str] = []

    def open_and_look() -> None:
        for _ in range(30):
            with Store(tmp_path) as store:
                place = store.workspace()
                (place / "file").write_text("x")
                if not (place / "file").exists() or not (place.parent / "owner").exists():
                    lost.append(str(place))

    threads = [threading.Thread(target=open_and_look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    assert list((tmp_path / "work").iterdir()) == []


def test_two_that_deliver_into_one_folder(world: World, tmp_path: Path) -> None:
    """Different manifests, one `--out`: the folder is complete and belongs to one of them, and no run fails."""
    for number in range(4):
        world.manifest({"a": [{"text": str(number)}]}, f"manifest{number}.yaml")
    for _ in range(3):
        started = [world.start("--out", "out", "--force", name=f"manifest{number}.yaml") for number in range(4)]
        ended = [finish(process) for process in started]
        assert [one.code for one in ended] == [0] * 4, ended
        assert world.torn_folders() == []
        assert world.left_behind() == []
    assert re.fullmatch(rb"(model ){2000}[0-3]", world.delivered()["a"])


def wait_for(condition: object, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "no process had to wait"
        time.sleep(0.01)


def test_the_run_after_a_change_is_answered_by_the_receipt(world: World) -> None:
    """The receipt holds the signatures of what the run wrote, not of what it found."""
    world.manifest({"a": [{"text": "a"}]})
    assert world.run().code == 0
    (world.root / "out" / "m" / "a" / "notes.txt").write_text("mine")
    time.sleep(0.05)
    world.manifest({"a": [{"text": "b"}]})
    time.sleep(0.05)
    assert world.run().code == 0
    assert world.run().err == ""


def test_a_manifest_edited_while_it_runs_is_not_up_to_date(world: World) -> None:
    world.manifest({"a": [{"text": "a", "seconds": 1.0}]})
    process = world.start()
    wait_for(lambda: any((world.store / "work").glob("*/*/outputs/model/model.onnx")))
    world.manifest({"a": [{"text": "b"}]})
    assert finish(process).code == 0
    assert world.run("--json").outcomes() == {"m:fetch": "hit", "m/a:toy": "built"}


def test_weights_edited_while_a_later_step_runs_are_not_up_to_date(world: World) -> None:
    world.manifest({"a": [{"text": "a", "seconds": 1.0}]})
    process = world.start()
    wait_for(lambda: any((world.store / "work").glob("*/*/inputs/model/model.onnx")))
    (world.root / "model" / "model.onnx").write_bytes(b"other " * 2000)
    assert finish(process).code == 0
    assert world.run("--json").outcomes() == {"m:fetch": "built", "m/a:toy": "built"}
