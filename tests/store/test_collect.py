"""Collection: what it keeps, what it frees, and that no run at the same time notices."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import msgspec
import pytest
from toys import Bench, InlineRunner, cat, finished, step

from onnxbuild.execute.events import SUCCEEDED
from onnxbuild.store.claims import alone
from onnxbuild.store.collect import Freed, Limits, collect
from onnxbuild.store.store import Store


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.yaml"
    path.touch()
    return path


def gc(bench: Bench, *, dry_run: bool = False, **limits) -> Freed:
    with Store(bench.root / "store", claims=False) as store:
        return collect(store, Limits(**limits), dry_run=dry_run)


def contents(bench: Bench) -> set[str]:
    return {path.read_text() for path in (bench.root / "store" / "blobs").rglob("*/*")}


def backdate(bench: Bench, text: str, seconds: float) -> None:
    """Make the result that holds a text look as old as this."""
    with Store(bench.root / "store") as store:
        for key, trace in store.traces.all_traces().items():
            tree = store.tree(trace.outputs["out"])
            if any(store.content.path(file.digest).read_text() == text for file in tree.files):
                store.traces.record(key, msgspec.structs.replace(trace, created=time.time() - seconds), [tree])


def test_what_the_latest_results_reach_is_kept_and_the_rest_is_freed(build, manifest) -> None:
    scope = str(manifest)
    build(step("a", text="old"), step("b", of="a", text="!"), scope=scope)
    build(step("a", text="new"), step("b", of="a", text="!"), scope=scope)
    assert gc(build) == Freed(traces=2, blobs=2, bytes=7, kept=2)
    assert contents(build) == {"new", "!new"}
    assert build(step("a", text="new"), step("b", of="a", text="!"), scope=scope) == {"a": "hit", "b": "hit"}
    assert build(step("a", text="old"), scope=scope) == {"a": "built"}


def test_a_dry_run_says_the_same_and_frees_nothing(build, manifest) -> None:
    build(step("a", text="old"), scope=str(manifest))
    build(step("a", text="new"), scope=str(manifest))
    said = gc(build, dry_run=True)
    assert contents(build) == {"old", "new"}
    assert gc(build) == said
    assert contents(build) == {"new"}


def test_the_last_good_result_of_an_action_that_failed_since_is_kept(build, manifest) -> None:
    build(step("a", text="good"), scope=str(manifest))
    build(step("a", text="bad", fail=True), scope=str(manifest))
    gc(build)
    assert contents(build) == {"good"}


def test_what_several_results_share_goes_with_the_last_of_them(build, manifest) -> None:
    build(step("a", text="same"), step("b", text="sa"), step("c", of="b", text="me"), scope=str(manifest))
    build(step("a", text="same"), scope=str(manifest))
    build(step("b", text="xx"), step("c", of="b", text="yy"), scope=str(manifest))
    gc(build)
    assert contents(build) == {"same", "xx", "yyxx"}


def test_what_is_young_is_kept(build, manifest) -> None:
    for text in ("oldest", "older", "now"):
        build(step("a", text=text), scope=str(manifest))
    backdate(build, "oldest", 1000)
    backdate(build, "older", 500)
    assert gc(build, age_seconds=700).traces == 1
    assert contents(build) == {"older", "now"}


def test_over_the_budget_the_oldest_goes_first_and_what_is_needed_never(build, manifest) -> None:
    for age, text in ((300, "1111111111"), (200, "2222222222"), (100, "3333333333"), (0, "4444444444")):
        build(step("a", text=text), scope=str(manifest))
        backdate(build, text, age)
    assert gc(build, budget_bytes=30).traces == 1
    assert contents(build) == {"2222222222", "3333333333", "4444444444"}
    assert gc(build, budget_bytes=5).traces == 2
    assert contents(build) == {"4444444444"}


def test_a_manifest_that_is_gone_needs_nothing(build, manifest) -> None:
    build(step("a", text="x"), scope=str(manifest))
    manifest.unlink()
    assert gc(build) == Freed(traces=1, blobs=1, bytes=1, kept=0, scopes=1)
    manifest.touch()
    with Store(build.root / "store") as store:
        assert store.traces.all_last() == {}


def test_content_without_a_name_is_freed(build, manifest) -> None:
    build(step("a", text="x"), scope=str(manifest))
    with Store(build.root / "store") as store:
        blob = store.content.path("ab" * 32)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_text("stray")
    assert gc(build) == Freed(traces=0, blobs=1, bytes=5, kept=1)


def test_a_result_that_a_run_at_work_has_found_is_kept_though_nothing_else_reaches_it(tmp_path, manifest) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(params, inputs, outputs, tell):
        if params.text == "slow":
            began.set()
            assert go_on.wait(20)
        return cat(params, inputs, outputs, tell)

    bench, scope = Bench(tmp_path, InlineRunner({"cat": slow})), str(manifest)
    bench(step("a", text="old"), scope=scope)
    bench(step("a", text="new"), scope=scope)
    world = (step("a", text="old"), step("b", of="a", text="slow"), step("c", of=("a", "b")))
    said: list = []
    run = threading.Thread(target=lambda: said.append(bench(*world, scope=scope)))
    run.start()
    assert began.wait(20)
    freed = gc(bench)
    assert (freed.traces, freed.kept, freed.in_use) == (0, 2, 1)
    go_on.set()
    run.join()
    assert said == [{"a": "hit", "b": "built", "c": "built"}]
    assert bench.runner.ran["a"] == 2  # never a third time
    assert gc(bench).traces == 1  # only now nothing needs the result that `a` had in between


def test_a_run_that_died_claims_nothing(build, manifest) -> None:
    build(step("a", text="old"), scope=str(manifest))
    with Store(build.root / "store") as store:
        key = next(iter(store.traces.all_traces()))
    build(step("a", text="new"), scope=str(manifest))
    dead = build.root / "store" / "work" / "1-deadbeef"
    dead.mkdir()
    (dead / "owner").touch()
    (dead / "claims").write_text(f"{key}\n")
    assert gc(build).traces == 1
    assert not dead.exists()


def test_a_collection_waits_until_what_is_being_published_has_its_name(build, manifest) -> None:
    waits, published = threading.Event(), []

    def collect_beside() -> None:
        with alone(build.root / "store", waits.set):
            published.append(bool(list((build.root / "store" / "blobs").rglob("*/*"))))

    with Store(build.root / "store") as store:
        with store._undisturbed():
            beside = threading.Thread(target=collect_beside)
            beside.start()
            assert waits.wait(20)
            assert published == []
        beside.join(20)
    assert published == [False]


def test_where_claims_cannot_be_written_a_collection_waits_for_the_run(build, manifest, tmp_path) -> None:
    build(step("a", text="x"), scope=str(manifest))
    with Store(build.root / "store") as store:
        key = next(iter(store.traces.all_traces()))
        (store._work.path() / "claims").mkdir()  # as if the disk were full: the file cannot be opened
        assert store.lookup(key) is not None
        waits, done = threading.Event(), threading.Event()

        def collect_beside() -> None:
            with alone(store.root, waits.set):
                done.set()

        beside = threading.Thread(target=collect_beside)
        beside.start()
        assert waits.wait(20)
        assert not done.wait(0.2)
    beside.join(20)
    assert done.is_set()


def test_runs_during_collections_never_fail_and_never_build_a_thing_twice_for_it(tmp_path) -> None:
    """Three manifests go back and forth between states on one store, while two collections free all they may."""
    stop = threading.Event()
    faults: list[str] = []
    collected = []

    def collections() -> None:
        while not stop.is_set():
            try:
                collected.append(gc(Bench(tmp_path)).traces)
            except Exception as error:
                faults.append(f"gc: {error!r}")

    def runs(number: int) -> None:
        scope = tmp_path / f"{number}.yaml"
        scope.touch()
        rng = random.Random(number)
        while not stop.is_set():
            bench = Bench(tmp_path, InlineRunner())
            texts = [rng.choice("abc") for _ in range(3)]
            world = (
                step("a", text=texts[0]), step("b", of="a", text=texts[1]), step("c", of=("a", "b"), text=texts[2]),
                step("d", of=("c", "a")),
            )  # fmt: skip
            try:
                outcomes = finished(bench.events(*world, scope=str(scope)))
            except Exception as error:
                faults.append(f"run {number}: {error!r}")
                continue
            faults.extend(f"{o.id}: {o.failure}" for o in outcomes.values() if o.outcome not in SUCCEEDED)
            faults.extend(f"{name} ran {count} times" for name, count in bench.runner.ran.items() if count > 1)

    threads = [threading.Thread(target=collections) for _ in range(2)]
    threads += [threading.Thread(target=runs, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(4)
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert sum(collected) > 0
