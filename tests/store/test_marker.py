"""The marker: onnxbuild writes to a store, and to nothing that only has the name of one."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

import pytest
from plugin.world import World
from toys import Bench, step

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.store.collect import Limits, collect
from onnxbuild.store.marker import MARKER
from onnxbuild.store.store import Store, opened
from onnxbuild.store.working_folders import sweep

ONNXBUILD = (sys.executable, "-m", "onnxbuild")
SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"  # of every cache directory tag
posix = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


def code_of(root: Path, *, readonly: bool = False) -> str | None:
    """The code with which a store is refused."""
    try:
        Store(root, readonly=readonly).close()
    except DiagnosticError as error:
        return error.diagnostics[0].code
    return None


def everything(root: Path) -> dict[str, bytes | str | None]:
    """All that stands below a folder, with its content."""
    paths = sorted(root.rglob("*"))
    return {str(path.relative_to(root)): content(path) for path in paths}


def content(path: Path) -> bytes | str | None:
    if path.is_symlink():
        return os.readlink(path)
    return path.read_bytes() if path.is_file() else None


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of somebody, which happens to have the folders that a store has."""
    root = tmp_path / "victim"
    for name in ("work/thesis/chapter", "work/1-deadbeef", "locks", "blobs/ab", "toolchains"):
        (root / name).mkdir(parents=True)
    for name in (
        "work/thesis/chapter/1.txt",
        "work/1-deadbeef/x",
        f"locks/{'a' * 64}",
        f"blobs/ab/{'ab' * 32}",
        "notes",
    ):
        (root / name).write_text("precious")
    return root


def test_a_folder_with_other_content_is_refused_by_every_command_and_nothing_changes(victim, tmp_path) -> None:
    world = World(tmp_path / "world", store=victim)
    world.manifest({"a": [{"text": "a"}]})
    before = everything(victim)
    for command in (
        "run manifest.yaml", "run manifest.yaml -n", "plan manifest.yaml", "graph manifest.yaml",
        "status manifest.yaml", "gc manifest.yaml", "gc manifest.yaml --dry-run",
        "cache stats manifest.yaml", "cache verify manifest.yaml",
        "explain m/a:toy -m manifest.yaml",
    ):  # fmt: skip
        ended = world.run_arguments([*ONNXBUILD, *command.split(), "--store", str(victim)])
        assert (ended.code, "OB070" in ended.err) == (2, True), (command, ended)
        assert everything(victim) == before, command


def test_a_manifest_that_names_the_folder_of_somebody_deletes_nothing(victim, tmp_path) -> None:
    world = World(tmp_path)
    path = world.manifest({"a": [{"text": "a"}]})
    path.write_text(path.read_text().replace('"onnxbuild": 1', '"onnxbuild": 1, "store": {"path": "victim"}'))
    before = everything(victim)
    for verb in ("run", "gc", "plan"):
        assert "OB070" in world.run_arguments([*ONNXBUILD, verb, str(path)]).err
        assert everything(victim) == before


@pytest.mark.parametrize("readonly", [False, True])
def test_a_folder_without_a_marker_is_a_store_only_if_it_is_empty(tmp_path: Path, *, readonly: bool) -> None:
    root = tmp_path / "store"
    assert code_of(root, readonly=readonly) is None
    root.mkdir(exist_ok=True)
    assert code_of(root, readonly=readonly) is None
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").touch()
    assert code_of(other, readonly=readonly) == "OB070"


def test_reading_creates_nothing(tmp_path: Path) -> None:
    for root in (tmp_path / "missing", tmp_path):
        with opened(root, write=False) as store:
            assert store.lookup("0" * 64) is None
    assert list(tmp_path.iterdir()) == []
    bench = Bench(tmp_path)
    bench(step("a", text="a"))
    before = everything(tmp_path / "store")
    with opened(tmp_path / "store", write=False) as store:
        assert len(store.traces.all_traces()) == 1
        with pytest.raises(OSError, match="readonly"):
            store.traces.forget_scope("test")
    assert everything(tmp_path / "store") == before


def test_the_marker_is_a_cache_directory_tag(tmp_path: Path) -> None:
    Store(tmp_path / "store").close()
    text = (tmp_path / "store" / MARKER).read_text()
    assert text.startswith(
        "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a store of onnxbuild, format 1."
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            "Signature: 8a477f597d28d172789f06886806bc55\n# This file is a cache directory tag created by pip.\n",
            "OB070",
        ),
        ("", "OB070"),
        ("x" * 10_000, "OB070"),
        ("Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a store of onnxbuild, format 2. x\n", "OB071"),
    ],
)
def test_a_marker_of_another_program_or_a_newer_format_is_refused(tmp_path: Path, text: str, code: str) -> None:
    root = tmp_path / "store"
    root.mkdir()
    (root / MARKER).write_text(text)
    assert (code_of(root), code_of(root, readonly=True)) == (code, code)
    assert everything(root) == {MARKER: text.encode()}


def test_a_store_of_an_earlier_version_is_known_by_its_database_and_nothing_is_rebuilt(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench(step("a", text="a")) == {"a": "built"}
    (tmp_path / "store" / MARKER).unlink()
    with opened(tmp_path / "store", write=False):
        assert not (tmp_path / "store" / MARKER).exists()
    assert bench(step("a", text="a")) == {"a": "hit"}
    assert (tmp_path / "store" / MARKER).exists()


def test_a_store_of_the_first_version_gains_its_new_table(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench(step("a", text="a"))
    with sqlite3.connect(tmp_path / "store" / "traces.db") as db:
        db.executescript("DROP TABLE shared; PRAGMA user_version=1;")
    db.close()
    with opened(tmp_path / "store", write=False) as store:
        assert len(store.traces.all_traces()) == 1
        assert store.traces.unshared("remote", ["key"]) == ["key"]
    assert bench(step("a", text="a")) == {"a": "hit"}
    with sqlite3.connect(tmp_path / "store" / "traces.db") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
    db.close()


@pytest.mark.parametrize("readonly", [False, True])
def test_a_newer_database_is_refused_and_keeps_its_version(tmp_path: Path, *, readonly: bool) -> None:
    Bench(tmp_path)(step("a", text="a"))
    with sqlite3.connect(tmp_path / "store" / "traces.db") as db:
        db.execute("PRAGMA user_version=4")
    db.close()
    assert code_of(tmp_path / "store", readonly=readonly) == "OB071"
    with sqlite3.connect(tmp_path / "store" / "traces.db") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
    db.close()


@pytest.mark.parametrize("schema", ["CREATE TABLE traces (x)", "CREATE TABLE latest (x)", "CREATE TABLE pets (name)"])
def test_a_database_of_another_program_makes_no_store(tmp_path: Path, schema: str) -> None:
    (tmp_path / "store").mkdir()
    with sqlite3.connect(tmp_path / "store" / "traces.db") as db:
        db.execute(schema)
    db.close()
    before = everything(tmp_path / "store")
    assert (code_of(tmp_path / "store"), code_of(tmp_path / "store", readonly=True)) == ("OB070", "OB070")
    assert everything(tmp_path / "store") == before


def test_a_marked_store_with_a_foreign_database_is_unusable(tmp_path: Path) -> None:
    Store(tmp_path / "store").close()
    (tmp_path / "store" / "traces.db").unlink()
    with sqlite3.connect(tmp_path / "store" / "traces.db") as db:
        db.execute("CREATE TABLE traces (x)")
    db.close()
    assert code_of(tmp_path / "store") == "OB040"


NAMES = (
    "blobs",
    "work",
    "locks",
    "toolchains",
    "traces.db",
    "traces.db-wal",
    "traces.db-shm",
    "gc.lock",
    "sweeping",
    MARKER,
)


@posix
@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_the_place_of_a_part_of_the_store_is_refused(tmp_path: Path, name: str) -> None:
    root, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    Bench(tmp_path)(step("a", text="a"))
    elsewhere.mkdir()
    (elsewhere / "file").write_text("precious")
    place = root / name
    if place.exists():
        place.rename(tmp_path / "aside")
    place.symlink_to(elsewhere if name in {"blobs", "work", "locks", "toolchains"} else elsewhere / "file")
    before = everything(elsewhere)
    assert (code_of(root), code_of(root, readonly=True)) == ("OB072", "OB072")
    assert everything(elsewhere) == before


@posix
@pytest.mark.parametrize("name", NAMES)
def test_a_fifo_in_the_place_of_a_part_of_the_store_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    root = tmp_path / "store"
    Store(root).close()
    (root / name).unlink(missing_ok=True)
    os.mkfifo(root / name)
    assert (code_of(root), code_of(root, readonly=True)) == ("OB072", "OB072")


@posix
def test_the_folder_of_a_store_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    assert Bench(tmp_path)(step("a", text="a")) == {"a": "built"}


def test_a_file_in_the_place_of_the_store_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    assert code_of(tmp_path / "store") == "OB040"


def test_a_run_killed_while_it_made_the_store_blocks_no_other(tmp_path: Path) -> None:
    (tmp_path / f".{MARKER}.123.456").touch()
    assert code_of(tmp_path) is None


def test_a_sweep_touches_only_what_a_store_makes(victim: Path) -> None:
    (victim / "work" / "2-deadbeef").symlink_to(victim / "work" / "thesis")
    (victim / "work" / "3-deadbeef").write_text("a file")
    (victim / "locks" / "notes.txt").write_text("precious")
    (victim / "locks" / ("b" * 64)).symlink_to(victim / "notes")
    (victim / "locks" / ("c" * 64)).mkdir()
    before = everything(victim)
    sweep(victim)
    gone = before.keys() - everything(victim).keys()
    assert gone == {"work/1-deadbeef", "work/1-deadbeef/x", f"locks/{'a' * 64}"}


def test_a_collection_removes_only_blobs(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with Store(root) as store:
        stray = store.content.path("ab" * 32)
        stray.parent.mkdir(parents=True)
        stray.write_text("no result names it")
        for name in ("notes.txt", "ab" * 31 + "cd.bak", "cd" * 32):  # the last one is in the folder of others
            (stray.parent / name).write_text("precious")
        (stray.parent / ("ab" + "0" * 62)).mkdir()  # in the place of a blob
        (root / "blobs" / "thesis").mkdir()
        (root / "blobs" / "thesis" / ("th" * 32)).write_text("precious")
        freed = collect(store, Limits())
    assert (freed.blobs, freed.bytes) == (2, len("no result names it"))
    assert not stray.exists()
    assert len(list(root.rglob("*.txt"))) == 1
    assert (stray.parent / ("cd" * 32)).exists()
    assert (root / "blobs" / "thesis" / ("th" * 32)).exists()


def test_a_refusal_says_what_was_found_and_that_nothing_changed(tmp_path: Path) -> None:
    for name in ("foreign", "newer", "linked"):
        (tmp_path / name).mkdir()
    (tmp_path / "foreign" / "thesis.txt").touch()
    (tmp_path / "newer" / MARKER).write_text(f"{SIGNATURE}\n# This folder is a store of onnxbuild, format 7.\n")
    (tmp_path / "linked" / "gc.lock").mkdir()
    expected = {
        "foreign": ("is not a store of onnxbuild: it is not empty and has no store's marker", "name another folder"),
        "newer": ("was made by a newer onnxbuild: its format is 7, and this version knows 1", "upgrade onnxbuild"),
        "linked": ("`gc.lock` in it is neither a file nor a folder of a store", f"Remove `{tmp_path / 'linked'}"),
    }
    for name, (message, hint) in expected.items():
        with pytest.raises(DiagnosticError) as raised:
            Store(tmp_path / name)
        (one,) = raised.value.diagnostics
        assert str(tmp_path / name) in one.message
        assert message in one.message
        ((label, text),) = one.notes
        assert label == "hint"
        assert text.startswith("nothing was changed; ")
        assert hint in text


def test_a_store_makes_a_new_working_folder_after_a_release(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        first = store.workspace()
        store.release()
        assert not first.exists()
        assert store.workspace().is_dir()
    assert list((tmp_path / "store" / "work").iterdir()) == []
