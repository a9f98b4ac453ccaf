"""Results of an earlier manifest are never shown as those of the manifest as it is now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plugin.world import Ended, World

ONE = [{"text": "1"}]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.manifest({"one": ONE, "two": [{"text": "22"}, {"text": "3"}]})
    assert made.run().code == 0
    return made


def variants(world: World) -> dict[str, dict[str, Any]]:
    done = world.run("--format", "json", verb="report")
    return {one["row"]["name"]: one for one in json.loads(done.out)["variants"]}


def warning(why: str) -> str:
    return (
        f"OB710 warning: the results of `m/two` are of an earlier manifest or source ({why})\n"
        "  = hint: `onnxbuild run manifest.yaml` brings them up to date\n"
    )


def test_an_edited_step_is_named_and_its_results_keep_the_params_that_they_have(world: World) -> None:
    world.manifest({"one": ONE, "two": [{"text": "new"}, {"text": "3"}]})
    shown = variants(world)
    assert shown["m/one"]["outdated"] == ""
    assert shown["m/two"]["outdated"] == "m/two:toy: params.text: 22 → new"
    assert [step["params"].get("text") for step in shown["m/two"]["steps"]] == [None, "22", "3"]
    markdown = world.run("--format", "markdown", verb="report")
    assert markdown.err == warning("m/two:toy: params.text: 22 → new")
    assert "1 outdated" in markdown.out
    assert "- m/two: these results are of an earlier manifest or source (m/two:toy: params.text: 22 → new)" in (
        markdown.out
    )


def test_the_precision_is_that_of_what_was_built(tmp_path: Path) -> None:
    world, three = World(tmp_path), [{"text": "fp16", "number": 7}]  # no action of another variant
    world.manifest({"one": ONE, "two": [{"text": "int8"}, {"text": "3"}], "three": three})
    assert world.run().code == 0
    world.manifest({"one": [{"text": "int8"}], "two": [{"text": "fp16"}, {"text": "3"}], "three": three})
    built = {"m/one": "fp32", "m/two": "int8", "m/three": "fp16"}
    assert {name: one["precision"] for name, one in variants(world).items()} == built
    assert world.run().code == 0
    now = {"m/one": "int8", "m/two": "fp16", "m/three": "fp16"}
    assert {name: one["precision"] for name, one in variants(world).items()} == now


def test_the_page_and_the_status_say_it_too(world: World) -> None:
    world.manifest({"one": ONE, "two": [{"text": "22"}, {"text": "4"}]})
    assert warning("m/two:toy-2: params.text: 3 → 4") in world.run(verb="report").err
    page = (world.root / "out" / "manifest-report.html").read_text()
    assert '<p class="failure">m/two: these results are of an earlier manifest or source' in page
    assert world.run(verb="status").err == warning("m/two:toy-2: params.text: 3 → 4")


def test_a_comparison_says_it_of_the_build_that_it_reads(world: World) -> None:
    assert world.run("--output", "before.json", verb="report").code == 0
    world.manifest({"one": ONE, "two": [{"text": "22"}, {"text": "4"}]})
    done = world.run("--compare", "before.json", "manifest.yaml", verb="report")
    assert (done.code, done.err) == (0, warning("m/two:toy-2: params.text: 3 → 4"))


def test_an_edited_source_outdates_all_that_is_made_from_it(world: World) -> None:
    (world.root / "model" / "model.onnx").write_bytes(b"another " * 2000)
    words = "input `files` changed"
    assert {name: words in one["outdated"] for name, one in variants(world).items()} == {"m/one": True, "m/two": True}


def test_a_card_is_not_written_from_them(world: World) -> None:
    assert world.run("--no-plots", verb="card").code == 0
    before = (world.root / "out" / "m" / "README.md").read_text()
    world.manifest({"one": [{"text": "2"}], "two": [{"text": "22"}, {"text": "3"}]})
    done = world.run("--no-plots", verb="card")
    assert (done.code, "OB710 the results of `m/one` are of an earlier manifest" in done.err) == (2, True)
    assert (world.root / "out" / "m" / "README.md").read_text() == before
    assert world.run().code == 0
    assert world.run("--no-plots", verb="card").code == 0


def test_what_has_not_changed_is_not_outdated(world: World) -> None:
    ended = [world.run(verb="status"), world.run("--format", "markdown", verb="report")]
    assert [(one.code, one.err) for one in ended] == [(0, ""), (0, "")]
    assert world.run().code == 0  # hits
    assert all(one["outdated"] == "" for one in variants(world).values())


@pytest.fixture
def failed(world: World) -> Ended:
    """The first step of `two` fails, so that the second, which has an earlier result, is blocked."""
    world.manifest({"one": ONE, "two": [{"do": "exit"}, {"text": "3"}]})
    done = world.run()
    assert done.code == 1
    return done


@pytest.mark.usefixtures("failed")
def test_behind_a_failed_step_nothing_of_the_build_before_is_shown(world: World) -> None:
    two = variants(world)["m/two"]
    assert two["row"]["size_bytes"] is None
    assert [step["id"] for step in two["steps"]] == ["m:fetch", "m/two:toy"]
    assert "(1 failed, 1 not validated)" in world.run("--format", "markdown", verb="report").out
    actions = json.loads(world.run("--format", "json", verb="status").out)["actions"]
    assert actions["m/two:toy-2"] is None
