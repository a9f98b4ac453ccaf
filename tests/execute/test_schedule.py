"""Failures, repairs, pools, retries, interrupts."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from toys import Bench, InlineRunner, cat, step

from onnxbuild.execute.events import ActionProgress, RunFinished
from onnxbuild.execute.policy import Interrupt
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.protocol import CheckFailed
from onnxbuild.store.store import Store


def test_a_failure_blocks_what_needs_it_and_nothing_else(build: Bench) -> None:
    world = (step("a", fail=True), step("b", of="a"), step("c", of="b"), step("d"), step("e", of="d"))
    assert build(*world) == {"a": "failed", "b": "blocked", "c": "blocked", "d": "built", "e": "built"}


def test_a_failure_is_never_remembered(build: Bench) -> None:
    build(step("a", fail=True))
    assert build(step("a", fail=True)) == {"a": "failed"}
    assert build.runner.ran["a"] == 2


def test_fail_fast_begins_nothing_after_the_first_failure(build: Bench) -> None:
    outcomes = build(step("a", fail=True), step("b"), step("c"), jobs=1, fail_fast=True)
    assert outcomes == {"a": "failed", "b": "skipped", "c": "skipped"}


def test_what_a_failed_action_left_is_never_seen(build: Bench) -> None:
    def half(params, inputs, outputs, tell):
        (outputs["out"] / "text").write_text("half")
        raise CheckFailed("OBE00", "broke")

    failing = Bench(build.root, InlineRunner({"cat": half}))
    assert failing(step("a")) == {"a": "failed"}
    with Store(build.root / "store") as store:
        assert not list(store.content.blobs())
    assert not list((build.root / "store" / "work").iterdir())


def test_an_empty_output_is_a_failure(tmp_path: Path) -> None:
    outcome = Bench(tmp_path, InlineRunner({"cat": lambda *_: {}})).outcomes(step("a"))["a"]
    assert outcome.failure is not None
    assert (outcome.failure.code, outcome.failure.message) == ("OBE64", "the worker left output `out` empty")


def test_a_worker_that_changes_its_input_fails_and_the_input_is_repaired(tmp_path: Path) -> None:
    def vandal(params, inputs, outputs, tell):
        place = inputs["in0"] / "text"
        place.chmod(0o644)
        place.write_text("vandalized")
        return cat(params, inputs, outputs, tell)

    bench = Bench(tmp_path, InlineRunner({"count": vandal}))
    outcomes = bench.outcomes(step("a", text="x"), step("b", "count", of="a"))
    assert outcomes["b"].failure is not None
    assert outcomes["b"].failure.code == "OBE63"
    healthy = Bench(tmp_path)
    again = healthy.outcomes(step("a", text="x"), step("c", of="a", text="y"))
    assert {name: o.outcome for name, o in again.items()} == {"a": "unchanged", "c": "built"}
    assert healthy.text(again["c"]) == "yx"


def _damage(bench: Bench, outcome: object, change: object) -> None:
    with Store(bench.root / "store") as store:
        file = store.tree(outcome.outputs["out"]).files[0]
        change(store.content.path(file.digest))


def _rewrite(path: Path) -> None:
    path.chmod(0o644)
    path.write_text("Z" * path.stat().st_size)


def test_a_damaged_blob_is_rebuilt_when_a_run_meets_it(build: Bench) -> None:
    first = build.outcomes(step("a", text="x"), step("z", text="zz"), step("b", of=["a", "z"]))
    _damage(build, first["a"], _rewrite)
    again = build.outcomes(step("a", text="x"), step("z", text="zz"), step("b", of=["a", "z"], text="new"))
    assert again["a"].outcome == "unchanged"
    assert build.text(again["b"]) == "newxzz"


def test_a_missing_blob_is_rebuilt(build: Bench) -> None:
    first = build.outcomes(step("a", text="x"), step("b", of="a"))
    _damage(build, first["a"], Path.unlink)
    again = build.outcomes(step("a", text="x"), step("b", of="a"))
    assert {name: o.outcome for name, o in again.items()} == {"a": "unchanged", "b": "hit"}
    assert again["a"].reasons[0].part == "store"


def test_measuring_actions_run_alone(build: Bench) -> None:
    names = [f"m{number}" for number in range(3)]
    build(*(step(f"w{number}", text=str(number)) for number in range(5)), *(step(n, "measure", text=n) for n in names),
          jobs=4)  # fmt: skip
    assert [build.runner.most_together[name] for name in names] == [1, 1, 1]


def test_a_transient_failure_is_tried_again(build: Bench) -> None:
    tries = []

    def flaky(params, inputs, outputs, tell):
        tries.append(1)
        if len(tries) < 3:
            raise CheckFailed("OBE15", "connection reset", transient=True)
        return cat(params, inputs, outputs, tell)

    bench = Bench(build.root, InlineRunner({"flaky": flaky}))
    events = bench.events(step("a", "flaky"))
    assert len(tries) == 3
    texts = [event.text for event in events if isinstance(event, ActionProgress)]
    assert texts == ["connection reset; trying again in 0 s"] * 2


def test_an_interrupt_skips_what_has_not_begun_and_the_next_run_continues(tmp_path: Path) -> None:
    interrupt, began = Interrupt(), threading.Event()

    def slow(params, inputs, outputs, tell):
        began.set()
        time.sleep(0.1)
        return cat(params, inputs, outputs, tell)

    bench = Bench(tmp_path, InlineRunner({"cat": slow}))
    threading.Thread(target=lambda: (began.wait(), interrupt.request())).start()
    world = (step("a", text="1"), step("b", of="a"), step("c", of="b", text="3"))
    events = bench.events(*world, jobs=1, interrupt=interrupt)
    last = events[-1]
    assert isinstance(last, RunFinished)
    assert last.interrupted
    assert last.outcomes["c"].outcome == "skipped"
    assert Bench(tmp_path)(*world)["c"] == "built"


def test_two_runs_on_one_store_build_each_action_once(tmp_path: Path) -> None:
    def slow(params, inputs, outputs, tell):
        time.sleep(0.2)
        return cat(params, inputs, outputs, tell)

    runner = InlineRunner({"cat": slow})
    found: list[dict[str, str]] = []
    world = (step("a", text="1"), step("b", of="a"))
    threads = [threading.Thread(target=lambda: found.append(Bench(tmp_path, runner)(*world))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runner.ran == {"a": 1, "b": 1}
    assert sorted(outcome["a"] for outcome in found) == ["built", "hit"]


def test_actions_that_do_not_fit_into_memory_together_run_one_after_the_other(build: Bench) -> None:
    world = [step(f"w{number}", text=str(number)) for number in range(4)]
    assert set(build(*world, jobs=4, memory_bytes=1.5 * 2**30).values()) == {"built"}
    assert set(build.runner.most_together.values()) == {1}


def test_an_action_that_fits_into_no_memory_runs_by_itself(build: Bench) -> None:
    assert build(step("a"), memory_bytes=1) == {"a": "built"}


def test_an_action_waits_in_the_queue_while_what_it_reads_is_built_again(build: Bench) -> None:
    """One job at a time: `b` meets a damaged blob, and `c`, which reads it too, is in the queue by then."""
    build(step("a", text="spam"), step("b", of="a"), step("c", of="a", text="0"))
    (blob,) = (path for path in (build.root / "store" / "blobs").rglob("*/*") if path.read_text() == "spam")
    blob.chmod(0o644)
    blob.write_text("maps")
    again = build(step("a", text="spam"), step("b", of="a", text="1"), step("c", of="a", text="22"), jobs=1)
    assert again == {"a": "unchanged", "b": "built", "c": "built"}
    assert build.runner.ran == {"a": 2, "b": 2, "c": 2}


def test_files_from_outside_are_linked_or_copied_where_symbolic_links_are_forbidden(
    build: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(1314, "a required privilege is not held by the client")

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("eggs")
    monkeypatch.setattr(Path, "symlink_to", refuse)
    source = FilesSource(str(tmp_path / "in"), ("file",))
    outcome = build.outcomes(step("a", files=source))["a"]
    assert (outcome.outcome, build.text(outcome)) == ("built", "eggs")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (tmp_path / "in" / "file").write_text("ham")
    outcome = build.outcomes(step("a", files=source))["a"]
    assert (outcome.outcome, build.text(outcome)) == ("built", "ham")
