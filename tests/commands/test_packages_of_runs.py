"""Packages in real runs, with a plugin's package kind: gates, clients that are absent, delivery, repair, pruning."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from plugin.world import World

STEPS = {"a": [{"text": "x"}], "b": [{"text": "yy"}]}
BOX = "out/m/packages/box"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    (tmp_path / "bin").mkdir()
    made.environment["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{made.environment['PATH']}"
    return made


def install(world: World, says: str = "fine") -> None:
    program = world.root / "bin" / "toybox"
    program.write_text(f"#!/bin/sh\necho {says}\n")
    program.chmod(0o755)


def test_a_package_is_written_where_its_client_is_absent_and_the_check_runs_once_it_is_there(world: World) -> None:
    world.manifest(STEPS, package="box")
    first = world.run()
    assert first.code == 0, first
    assert "skipped: needs toybox" in first.out
    assert "passed" not in first.out
    assert "skipped   m:client-box" in first.err
    one, other = (world.root / "out" / "m" / name / "model.onnx" for name in STEPS)
    assert (world.root / BOX / "deep" / "box.bin").read_bytes() == one.read_bytes() + other.read_bytes()
    again = world.run()
    assert "up to date" in again.out
    assert "skipped: needs toybox" in again.out
    status = world.run(verb="status")
    assert "skipped: needs toybox" in status.out
    install(world)
    third = world.run()
    assert third.code == 0, third
    assert "passed: toybox 1.0" in third.out
    assert world.run("--json").outcomes() == dict.fromkeys(
        ["m:fetch", "m/a:toy", "m/b:toy", "m:package-box", "m:client-box"], "hit"
    )


def test_a_client_that_disagrees_fails_the_run_and_keeps_the_last_good_package(world: World) -> None:
    install(world)
    world.manifest(STEPS, package="box")
    assert world.run().code == 0
    before = (world.root / BOX / "deep" / "box.bin").read_bytes()
    world.manifest({**STEPS, "b": [{"text": "zzz"}]}, package={"box": {"expects": "better"}})
    second = world.run()
    assert second.code == 1, second
    assert "OBE190 m:client-box failed: toybox says `fine` instead of `better`" in second.out
    assert f"{BOX}/ still contains the last good build" in second.err
    assert (world.root / BOX / "deep" / "box.bin").read_bytes() == before
    assert world.run(verb="status").out.count("FAILED") == 1
    world.manifest(STEPS, package={"box": {"client": False}})
    third = world.run()
    assert third.code == 0, third
    assert " off" in third.out


def test_a_gate_that_fails_withholds_the_package(world: World) -> None:
    """The stand-in graph cannot be opened, so the load check of every variant fails."""
    world.manifest(STEPS, package="box", load={})
    done = world.run("--json")
    assert done.code == 1
    outcomes = done.outcomes()
    assert outcomes["m/a:toy"] == "built"
    assert (outcomes["m/a:load"], outcomes["m:package-box"], outcomes["m:client-box"]) == (
        "failed", "blocked", "blocked",
    )  # fmt: skip
    assert not (world.root / BOX).exists()


def test_the_folder_of_a_package_is_described_verified_and_repaired(world: World) -> None:
    world.manifest(STEPS, package={"box": {"targets": ["b"]}})
    assert world.run().code == 0
    account = json.loads((world.root / BOX / "onnxbuild.json").read_text())
    assert (account["model"], account["target"]) == ("m", "packages/box")
    assert [step["id"] for step in account["steps"]] == ["m:fetch", "m/b:toy", "m:package-box", "m:client-box"]
    assert account["files"].keys() == {"deep/box.bin", "README.md"}
    verify = [sys.executable, "-m", "onnxbuild", "verify", BOX]
    assert world.run_arguments(verify).code == 0
    content = (world.root / BOX / "deep" / "box.bin").read_bytes()
    (world.root / BOX / "deep" / "box.bin").write_bytes(b"edited")
    (world.root / BOX / "mine.txt").write_text("of the user")
    assert world.run_arguments(verify).code == 1
    repaired = world.run()
    assert repaired.code == 0
    assert "deep/box.bin" in repaired.err
    assert "restored from the store" in repaired.err
    assert (world.root / BOX / "deep" / "box.bin").read_bytes() == content
    assert (world.root / BOX / "mine.txt").read_text() == "of the user"


def test_a_check_that_is_skipped_again_has_not_passed(world: World) -> None:
    world.manifest(STEPS, package="box")
    assert world.run().code == 0
    again = [sys.executable, "-m", "onnxbuild", "verify", BOX, "--revalidate"]
    skipped = world.run_arguments(again)
    assert (skipped.code, skipped.out) == (1, "")
    assert "`m:client-box` was skipped, because it needs toybox" in skipped.err
    install(world)
    passed = world.run_arguments(again)
    assert passed.code == 0, passed
    assert "passed again: client-box" in passed.out


def test_a_package_that_the_manifest_no_longer_names_is_pruned(world: World) -> None:
    world.manifest(STEPS, package="box")
    assert world.run().code == 0
    world.manifest(STEPS)
    second = world.run()
    assert f"no longer names {BOX}" in second.err
    assert (world.root / BOX).is_dir()
    assert world.run("--prune").code == 0
    assert not (world.root / BOX).exists()
    assert (world.root / "out" / "m" / "a" / "model.onnx").is_file()


def test_a_card_and_a_comparison_say_what_is_in_a_package_and_whether_its_client_was_there(world: World) -> None:
    world.manifest(STEPS, package={"box": {"targets": ["b"]}})
    assert world.run().code == 0
    assert world.run("--no-plots", verb="card").code == 0
    card = (world.root / "out/m/README.md").read_text()
    assert re.search(r"\| `packages/box/` \| b \| 0\.0 MB \| 1 \| skipped: needs toybox \|", card), card
    shutil.copytree(world.root / "out", world.root / "before")
    install(world)
    assert world.run().code == 0
    compare = [sys.executable, "-m", "onnxbuild", "report", "--compare"]
    done = world.run_arguments([*compare, "before", "out"])
    changed = (
        "package m/packages/box: 0.0 MB in 1 file, client check skipped: needs toybox → "
        "0.0 MB in 1 file, client check passed: toybox 1.0"
    )
    assert changed in done.out.splitlines(), done
    assert "package" not in world.run_arguments([*compare, "out", "manifest.yaml"]).out
    absent = world.run_arguments([*compare, "before/m/a", "before", "--format", "json"])
    (package,) = json.loads(absent.out)["packages"]
    assert (package["name"], package["before"], package["after"]["check"]) == ("m/packages/box", None, "skipped")


def test_a_selector_of_a_package_builds_only_what_it_needs(world: World) -> None:
    world.manifest(STEPS, package={"box": {"targets": ["b"]}})
    done = world.run("m/packages/box", "--json")
    assert done.code == 0, done
    assert done.outcomes().keys() == {"m:fetch", "m/b:toy", "m:package-box", "m:client-box"}
    assert world.run("m/a", "--json").outcomes().keys() == {"m:fetch", "m/a:toy"}
    shown = world.run("m/packages/box")
    assert BOX.removeprefix("out/") in shown.out
    assert "m/a" not in shown.out.replace("m/packages", "")


def test_a_link_in_the_place_of_the_folder_of_packages_is_refused(world: World) -> None:
    world.manifest(STEPS, package="box")
    elsewhere = world.root / "elsewhere"
    elsewhere.mkdir()
    (world.root / "out" / "m").mkdir(parents=True)
    (world.root / "out" / "m" / "packages").symlink_to(elsewhere)
    done = world.run()
    assert done.code != 0
    assert "symbolic link" in done.err
    assert list(elsewhere.iterdir()) == []
