"""What rebuilds and what does not: a small world, one event, and the list of what happened."""

from __future__ import annotations

import os
from pathlib import Path

from toys import Bench, InlineRunner, step

from onnxbuild.execute.events import Reason
from onnxbuild.execute.last_outcomes import LastOutcomes
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.store.store import Store


def test_the_second_run_does_nothing(build: Bench) -> None:
    world = (step("spam", text="spam"), step("page", of="spam"))
    assert build(*world) == {"spam": "built", "page": "built"}
    assert build(*world) == {"spam": "hit", "page": "hit"}
    assert build.runner.ran == {"spam": 1, "page": 1}


def test_a_changed_param_rebuilds_what_follows(build: Bench) -> None:
    build(step("a", text="x"), step("b", of="a"), step("c", text="alone"))
    again = build(step("a", text="y"), step("b", of="a"), step("c", text="alone"))
    assert again == {"a": "built", "b": "built", "c": "hit"}


def test_unchanged_output_stops_the_rebuild(build: Bench) -> None:
    build(step("length", "count", text="spam"), step("page", of="length"))
    again = build(step("length", "count", text="eggs"), step("page", of="length"))
    assert again == {"length": "unchanged", "page": "hit"}


def test_going_back_to_an_older_state_is_a_hit(build: Bench) -> None:
    old, new = step("a", text="old"), step("a", text="new")
    build(old)
    build(new)
    assert build(old) == {"a": "hit"}


def test_an_upload_is_made_again_when_another_one_was_the_last(build: Bench) -> None:
    """Its destination no longer has what an older result says."""
    old, new, failing = step("a", text="old"), step("a", text="new"), step("a", text="broken", fail=True)
    asked = {"uploads": frozenset({"a"})}
    assert build(old, **asked) == {"a": "built"}
    assert build(old, **asked) == {"a": "hit"}
    assert build(new, **asked) == {"a": "built"}
    again = build.outcomes(old, **asked)["a"]
    assert (again.outcome, again.reasons) == ("built", (Reason("upload", None, "replaced"),))
    assert build(old, **asked) == {"a": "hit"}
    assert build(failing, **asked) == {"a": "failed"}
    assert build(old, **asked) == {"a": "unchanged"}
    assert build.runner.ran == {"a": 5}


def test_an_upload_is_made_again_after_one_that_never_ended(build: Bench) -> None:
    world, asked = step("a", text="old"), {"uploads": frozenset({"a"})}
    build(world, **asked)
    with Store(build.root / "store") as store:
        LastOutcomes(store, "test").began("a")
        assert LastOutcomes(store, "test").has_failed("a")
    assert build(world, **asked) == {"a": "unchanged"}
    assert build(world, **asked) == {"a": "hit"}


def test_reasons_name_the_changed_part_with_old_and_new(build: Bench) -> None:
    build(step("a", text="x"), step("b", of="a"))
    outcomes = build.outcomes(step("a", text="y"), step("b", of="a"))
    assert outcomes["a"].reasons == (Reason("params.text", "x", "y"),)
    assert [reason.part for reason in outcomes["b"].reasons] == ["inputs.in0"]


def test_a_first_build_says_so(build: Bench) -> None:
    assert build.outcomes(step("a"))["a"].reasons == (Reason("trace", None, "never built"),)


def test_another_package_version_rebuilds_what_declares_it(tmp_path: Path) -> None:
    Bench(tmp_path)(step("a", text="x"))
    newer = Bench(tmp_path, InlineRunner(versions={"frob": "2.0"})).outcomes(step("a", text="x"))
    assert newer["a"].outcome == "unchanged"
    assert newer["a"].reasons == (Reason("packages.frob", "1.0", "2.0"),)


def test_forced_actions_run_whatever_is_stored(build: Bench) -> None:
    build(step("a"), step("b", of="a"))
    assert build(step("a"), step("b", of="a"), force=frozenset({"a"})) == {"a": "unchanged", "b": "hit"}


def files(folder: Path, **content: str) -> FilesSource:
    folder.mkdir(exist_ok=True)
    for name, text in content.items():
        (folder / name).write_text(text)
    return FilesSource(str(folder), tuple(sorted(content)))


def test_a_touched_file_rebuilds_nothing(build: Bench, tmp_path: Path) -> None:
    source = files(tmp_path / "in", weights="1234", config="{}")
    build(step("a", files=source))
    for name in source.files:
        os.utime(tmp_path / "in" / name, (1, 1))
    assert build(step("a", files=source)) == {"a": "hit"}


def test_one_byte_changed_in_place_rebuilds_although_size_and_mtime_are_kept(build: Bench, tmp_path: Path) -> None:
    source = files(tmp_path / "in", weights="1234")
    build(step("a", files=source))
    weights = tmp_path / "in" / "weights"
    status = weights.stat()
    with open(weights, "r+") as file:
        file.write("9")
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert build(step("a", files=source)) == {"a": "built"}


def test_two_files_that_swap_their_names_rebuild(build: Bench, tmp_path: Path) -> None:
    source = files(tmp_path / "in", left="1234", right="5678")
    build(step("a", files=source))
    folder = tmp_path / "in"
    (folder / "left").rename(folder / "other")
    (folder / "right").rename(folder / "left")
    (folder / "other").rename(folder / "right")
    assert build(step("a", files=source)) == {"a": "built"}


def test_the_place_of_a_source_does_not_count(build: Bench, tmp_path: Path) -> None:
    build(step("a", files=files(tmp_path / "here", weights="1234")))
    assert build(step("a", files=files(tmp_path / "there", weights="1234"))) == {"a": "hit"}


def test_rows_count_by_value(build: Bench) -> None:
    build(step("a", rows=({"text": "x"},)))
    assert build(step("a", rows=({"text": "x"},))) == {"a": "hit"}
    assert build(step("a", rows=({"text": "y"},))) == {"a": "built"}


def test_an_input_that_changes_while_the_step_runs_is_not_recorded(tmp_path: Path) -> None:
    source = files(tmp_path / "in", weights="1234")

    def meddle(params, inputs, outputs, tell):
        (outputs["out"] / "text").write_text("old")
        (tmp_path / "in" / "weights").write_text("12345")
        return {}

    outcome = Bench(tmp_path, InlineRunner({"cat": meddle})).outcomes(step("a", files=source))["a"]
    assert outcome.outcome == "failed"
    assert outcome.failure is not None
    assert outcome.failure.code == "OBE57"
    assert Bench(tmp_path)(step("a", files=source)) == {"a": "built"}


def test_a_missing_source_is_one_failed_action(build: Bench, tmp_path: Path) -> None:
    outcomes = build.outcomes(step("a", files=FilesSource(str(tmp_path), ("gone",))), step("b", of="a"), step("c"))
    assert {name: outcome.outcome for name, outcome in outcomes.items()} == {
        "a": "failed", "b": "blocked", "c": "built",
    }  # fmt: skip
    assert outcomes["a"].failure is not None
    assert outcomes["a"].failure.message == f"input '{tmp_path}/gone' cannot be read: No such file or directory"
