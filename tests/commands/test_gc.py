"""`onnxbuild gc` as a process, alone and during runs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from plugin.world import World

from onnxbuild.report.wording import size_in_words


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_no_manifest_needs_is_freed(world) -> None:
    world.manifest({"one": [{"text": "old"}]})
    world.run()
    world.manifest({"one": [{"text": "new"}]})
    world.run()
    size = sum(len(data) for data in world.delivered().values())
    assert world.run("-n", verb="gc").out == f"would free {size_in_words(size)}: 2 files of 1 result; 2 results kept\n"
    assert world.run(verb="gc").out == f"freed {size_in_words(size)}: 2 files of 1 result; 2 results kept\n"
    assert set(world.run("--json").outcomes().values()) == {"hit"}


def test_young_results_and_those_within_the_budget_are_kept(world) -> None:
    for text in ("old", "new"):
        world.manifest({"one": [{"text": text}]})
        world.run()
    assert "0 files of 0 results; 3 results kept" in world.run("--keep-days", "1", verb="gc").out
    assert "0 files of 0 results; 3 results kept" in world.run("--budget", "1MB", verb="gc").out
    assert "2 files of 1 result; 2 results kept" in world.run("--budget", "10KB", verb="gc").out


def test_a_store_that_is_not_there_is_not_made(world) -> None:
    world.manifest({"one": [{"text": "x"}]})
    done = world.run(verb="gc")
    assert (done.code, done.out) == (0, f"no store exists at {world.store} yet\n")
    assert not world.store.exists()


def test_a_number_of_days_below_none_is_refused(world) -> None:
    world.manifest({"one": [{"text": "x"}]})
    done = world.run("--keep-days", "-1", verb="gc")
    assert done.code == 2
    assert "expected a number of days, found `-1`" in done.err


@pytest.mark.heavy
def test_runs_of_several_manifests_during_collections_never_fail(tmp_path) -> None:
    """Each manifest goes back and forth between two states, while one process after the other collects."""
    store = tmp_path / "store"
    worlds = [World(tmp_path / f"w{number}", store=store) for number in range(2)]
    worlds[0].manifest({"t": [{"text": "first"}]})
    worlds[0].run()
    until = time.monotonic() + 12
    freed = 0
    for turn in range(100):
        for number, world in enumerate(worlds):
            texts = [f"{(turn + number) % 2}", "same", f"{turn % 2}{number}"]
            world.manifest({"t": [{"text": text, "seconds": 0.1} for text in texts]})
        runs = [world.start("--json") for world in worlds]
        while any(run.poll() is None for run in runs):
            command = [sys.executable, "-m", "onnxbuild", "gc", "manifest.yaml", "--store", str(store)]
            done = subprocess.run(
                command, cwd=worlds[0].root, env=worlds[0].environment, capture_output=True, text=True, check=False
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            freed += int(done.stdout.split("files of ")[1].split()[0])
        for run, world in zip(runs, worlds, strict=True):
            out, err = run.communicate()
            assert run.returncode == 0, out + err
            assert world.delivered()["t"].endswith(f"same{turn % 2}{worlds.index(world)}".encode())
        if time.monotonic() > until:
            break
    assert freed > 0
