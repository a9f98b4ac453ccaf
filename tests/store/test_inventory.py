"""The content of a store, counted and checked: exact numbers for results that share files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxbuild.digest import digest_bytes, digest_value
from onnxbuild.store import inventory
from onnxbuild.store.collect import Freed, Limits, collect
from onnxbuild.store.content import Content
from onnxbuild.store.inventory import Damage, OfKind, OfToolchains, stats, verify
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Last, Trace

DAY = 86_400.0
NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store", claims=False) as opened:
        yield opened


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    (tmp_path / "m.yaml").touch()
    return str(tmp_path / "m.yaml")


def put(store: Store, kind: str, *ports: dict[str, str], age: float = 0.0) -> str:
    """Record a result with these files per port, made so many seconds ago."""
    folders = {}
    for number, files in enumerate(ports):
        folder = store.workspace()
        for name, text in files.items():
            (folder / name).write_text(text)
        folders[f"out{number}"] = folder
    parts = {"kind": kind, "files": [dict(files) for files in ports]}
    key = digest_value(parts)
    trees = {port: store.content.ingest(folder) for port, folder in folders.items()}
    outputs = {port: tree.digest for port, tree in trees.items()}
    trace = Trace(parts=parts, outputs=outputs, facts={}, seconds=1.0, worker="local", created=NOW - age)
    store.traces.record(key, trace, trees.values())
    return key


@pytest.fixture(autouse=True)
def _clock(monkeypatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def test_results_that_share_files_are_counted_once_on_the_disk(store: Store, manifest: str, tmp_path: Path) -> None:
    kept = put(store, "quantize", {"a": "12345", "b": "1234567"}, {"c": "12345"}, age=2 * DAY)
    other = put(store, "fetch", {"d": "12345", "e": "123"}, age=5 * DAY)
    put(store, "fetch", {"f": "1"}, age=DAY / 2)
    store.traces.note(manifest, {"m:q": Last(key=kept, outcome="built"), "m:x": Last(key="0" * 64, outcome="hit")})
    store.traces.note(str(tmp_path / "gone.yaml"), {"m:o": Last(key=other, outcome="built")})
    found = stats(store)
    assert (found.results, found.reached, found.unreached) == (3, 1, 2)
    assert (found.files, found.bytes) == (4, 5 + 7 + 3 + 1)
    assert (found.bytes_named, found.bytes_deduplicated) == (5 + 7 + 5 + 5 + 3 + 1, 10)
    assert found.bytes_unreached == 3 + 1
    assert (found.oldest_days, found.newest_days) == (5.0, 0.5)
    assert list(found.kinds.items()) == [("fetch", OfKind(2, 9)), ("quantize", OfKind(1, 17))]
    assert found.toolchains == OfToolchains(0, 0)


def test_an_empty_store_has_no_ages(store: Store) -> None:
    found = stats(store)
    assert (found.results, found.files, found.bytes, found.bytes_named) == (0, 0, 0, 0)
    assert (found.oldest_days, found.newest_days, dict(found.kinds)) == (None, None, {})


def test_a_result_without_a_kind_is_counted_under_a_question_mark(store: Store) -> None:
    folder = store.workspace()
    (folder / "x").write_text("x")
    tree = store.content.ingest(folder)
    trace = Trace(parts={}, outputs={"out": tree.digest}, facts={}, seconds=1.0, worker="local")
    store.traces.record(digest_value({}), trace, [tree])
    assert stats(store).kinds == {"?": OfKind(1, 1)}


def test_toolchains_are_folders_and_their_locks_are_not(store: Store, tmp_path: Path) -> None:
    folder = store.root / "toolchains"
    for name in ("a" * 8, "b" * 8):
        (folder / name / "lib").mkdir(parents=True)
        (folder / name / "lib" / "x.py").write_text("12345")
    (folder / ("c" * 8 + ".lock")).mkdir()
    (folder / "file").write_text("12")
    assert stats(store).toolchains == OfToolchains(2, 12)


def test_a_file_that_pip_removes_meanwhile_is_not_counted(store: Store, monkeypatch) -> None:
    folder = store.root / "toolchains" / "a"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        (folder / name).write_text("12345")
    own = inventory.os.walk

    def walk(place: Path):
        for inner, folders, files in own(place):
            yield inner, folders, [*files, "gone"] if files else files

    monkeypatch.setattr(inventory.os, "walk", walk)
    assert stats(store).toolchains == OfToolchains(1, 10)


def test_damage_names_the_actions_that_it_concerns_and_the_progress_ends_at_the_total(
    store: Store, manifest: str, tmp_path: Path
) -> None:
    shared = put(store, "cat", {"a": "12345"})
    other = put(store, "cat", {"b": "12345", "c": "123"})
    put(store, "cat", {"d": "1234567"})
    lasts = {"m:b": (other, "built"), "m:a": (shared, "hit"), "m:f": (None, "failed")}
    store.traces.note(manifest, {name: Last(key=key, outcome=outcome) for name, (key, outcome) in lasts.items()})
    store.traces.note("~another", {"m:z": Last(key=shared, outcome="hit")})
    stray = store.content.path(digest_bytes(b"stray"))
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_text("STRAY")
    damaged, missing = digest_bytes(b"12345"), digest_bytes(b"123")
    store.content.path(damaged).chmod(0o644)
    store.content.path(damaged).write_text("54321")
    store.content.path(missing).unlink()
    told: list[tuple[int, int]] = []
    found = verify(store, lambda done, total: told.append((done, total)))
    assert {one.digest: one for one in found} == {
        damaged: Damage(
            damaged, f"blob {damaged[:16]} is damaged", ((manifest, "m:a"), (manifest, "m:b"), ("~another", "m:z"))
        ),
        missing: Damage(missing, f"blob {missing[:16]} is missing", ((manifest, "m:b"),), missing=True),
        stray.name: Damage(stray.name, f"blob {stray.name[:16]} is damaged", ()),
    }
    assert [total for _, total in told] == [5 + 3 + 7 + 5] * 4
    assert told[-1][0] == 20
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert not stray.exists()
    assert verify(store)[0].found.endswith("is missing")


# -- collection -------------------------------------------------------------------------------------------------------


def left(store: Store) -> set[str]:
    return {store.content.path(digest).read_text() for digest, _ in store.content.blobs()}


@pytest.mark.parametrize(
    ("limits", "texts"),
    [
        (Limits(), {"needed"}),
        (Limits(age_seconds=250), {"needed", "shared", "1-young", "2-middle"}),
        (Limits(age_seconds=200), {"needed", "shared", "1-young"}),  # exactly that old is too old
        (Limits(age_seconds=0), {"needed"}),
        (Limits(budget_bytes=1000), {"needed", "shared", "1-young", "2-middle", "3-old"}),
        (Limits(budget_bytes=6 + 6 + 7 + 8), {"needed", "shared", "1-young", "2-middle"}),
        (Limits(budget_bytes=6 + 6 + 7 + 7), {"needed", "shared", "1-young"}),
        (Limits(budget_bytes=6 + 6 + 6), {"needed"}),
        (Limits(budget_bytes=0), {"needed"}),
        (Limits(age_seconds=250, budget_bytes=6 + 6 + 7), {"needed", "shared", "1-young"}),
        (Limits(age_seconds=150, budget_bytes=1000), {"needed", "shared", "1-young"}),
    ],
)
def test_which_results_are_kept_within_limits(store: Store, manifest: str, limits: Limits, texts: set[str]) -> None:
    """A file that several results share is counted once, and goes with the last of them."""
    needed = put(store, "cat", {"a": "needed"}, age=900)
    put(store, "cat", {"a": "3-old", "s": "shared"}, age=300)
    put(store, "cat", {"a": "2-middle", "s": "shared"}, age=200)
    put(store, "cat", {"a": "1-young", "s": "shared"}, age=100)
    store.traces.note(manifest, {"m:a": Last(key=needed, outcome="built")})
    said = collect(store, limits, dry_run=True)
    before = left(store)
    assert collect(store, limits) == said
    assert left(store) == texts
    gone = before - texts
    results = len([text for text in texts if text != "shared"])
    assert said == Freed(
        traces=4 - results, blobs=len(gone), bytes=sum(map(len, gone)), kept=results, in_use=0, scopes=0
    )
    assert len(store.traces.all_traces()) == results


def test_a_collection_that_is_killed_leaves_only_content_without_a_name(store: Store, monkeypatch) -> None:
    put(store, "cat", {"a": "x"})

    def killed(_self: Content, _digest: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Content, "drop", killed)
    with pytest.raises(KeyboardInterrupt):
        collect(store, Limits())
    assert (store.traces.all_traces(), left(store)) == ({}, {"x"})


def test_a_dry_run_forgets_no_manifest_and_sweeps_nothing(store: Store, tmp_path: Path) -> None:
    put(store, "cat", {"a": "x"})
    store.traces.note(str(tmp_path / "gone.yaml"), {"a": Last(key="k", outcome="hit")})
    dead = store.root / "work" / "1-deadbeef"
    dead.mkdir()
    assert collect(store, Limits(), dry_run=True).scopes == 1
    assert (len(store.traces.all_last()), dead.exists(), (store.root / "gc.lock").exists()) == (1, True, False)
    assert collect(store, Limits()).scopes == 1
    assert (len(store.traces.all_last()), dead.exists()) == (0, False)


def test_a_store_whose_manifest_is_a_broken_link_still_has_it(store: Store, tmp_path: Path) -> None:
    """A disk that is not mounted at the moment must not cost the results."""
    key = put(store, "cat", {"a": "x"})
    (tmp_path / "m.yaml").symlink_to(tmp_path / "unmounted" / "m.yaml")
    store.traces.note(str(tmp_path / "m.yaml"), {"a": Last(key=key, outcome="hit")})
    assert collect(store, Limits()).kept == 1
