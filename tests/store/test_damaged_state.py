"""A damaged or newer record is a miss that the next build repairs, or a plain refusal: in every command, alike."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plugin.world import World
from toys import Bench, step

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.digest import canonical, digest_value
from onnxbuild.store.collect import Limits, collect
from onnxbuild.store.content import File, Tree
from onnxbuild.store.database import DatabaseFailed, database_error_in_words, has_our_tables
from onnxbuild.store.inventory import stats, verify
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Origin, Trace, Traces

ONNXBUILD = (sys.executable, "-m", "onnxbuild")
COLUMNS = {"traces": "body", "trees": "files", "latest": "body", "memo": "signature"}
# What a column may hold after a fault of the disk, of a program, or of a newer version.
DAMAGES: dict[str, bytes | str | int | float] = {
    "nothing": b"",
    "no JSON": b"{",
    "not UTF-8": b"\xff\xfe",
    "null": b"null",
    "a number": b"7",
    "an empty list": b"[]",
    "an empty object": b"{}",
    "wrong fields": b'[{"name": 1, "digest": null}]',
    "deep": b"[" * 5000,
    "text": "{}",
    "an integer": 5,
    "a float": 0.5,
}


def change(root: Path, table: str, value: bytes | str | float, *, where: str = "1") -> None:
    with sqlite3.connect(root / "traces.db") as db:
        db.execute(f"UPDATE {table} SET {COLUMNS[table]} = ? WHERE {where}", (value,))
    db.close()


@pytest.mark.parametrize("table", COLUMNS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_row_is_a_miss_and_the_next_build_repairs_it(tmp_path: Path, table: str, damage: str) -> None:
    bench, root = Bench(tmp_path), tmp_path / "store"
    steps = step("a", text="a"), step("b", of="a", text="b")
    bench(*steps)
    with Store(root) as store:
        store.traces.remember({"path": ((1, 2, 3, 4), digest_value("x"))})
    change(root, table, DAMAGES[damage])
    with Store(root, readonly=True) as store:
        stats(store)
        collect(store, Limits(), dry_run=True)
        store.traces.last("test")
        assert table != "memo" or store.traces.recall(["path"]) == {}
    with Store(root) as store:
        assert verify(store) == ()
    expected = {"traces": "built", "trees": "unchanged"}.get(table, "hit")
    assert bench(*steps) == {"a": expected, "b": expected}
    assert bench(*steps) == {"a": "hit", "b": "hit"}


@pytest.mark.parametrize("table", ["traces", "trees"])
def test_a_collection_removes_damaged_rows_with_their_content(tmp_path: Path, table: str) -> None:
    bench, root = Bench(tmp_path), tmp_path / "store"
    (tmp_path / "m.yaml").touch()
    bench(step("a", text="a"), scope=str(tmp_path / "m.yaml"))
    change(root, table, b"{")
    with Store(root, claims=False) as store:
        freed = collect(store, Limits())
    assert freed.blobs == 1
    with sqlite3.connect(root / "traces.db") as db:
        assert db.execute("SELECT count(*) FROM traces WHERE body = ?", (b"{",)).fetchone() == (0,)
    db.close()
    outcomes = bench(step("a", text="a"), scope=str(tmp_path / "m.yaml"))
    assert outcomes["a"] in {"built", "unchanged"}


def test_what_a_manifest_needs_is_kept_although_the_row_about_its_last_run_is_damaged(tmp_path: Path) -> None:
    bench, root = Bench(tmp_path), tmp_path / "store"
    (tmp_path / "m.yaml").touch()
    bench(step("a", text="a"), scope=str(tmp_path / "m.yaml"))
    change(root, "latest", b"{")
    with Store(root, claims=False) as store:
        assert collect(store, Limits()).kept == 1
    assert bench(step("a", text="a"), scope=str(tmp_path / "m.yaml")) == {"a": "hit"}


@pytest.fixture
def traces(tmp_path: Path):
    opened = Traces(tmp_path / "traces.db", readonly=False)
    yield opened
    opened.close()


def put(traces: Traces, key: str, trace: Trace, digest: str, files: tuple[File, ...]) -> None:
    with traces._db.transaction() as db:
        db.execute("INSERT INTO traces VALUES (?, ?, ?)", (key, canonical(trace), 0.0))
        db.execute("INSERT INTO trees VALUES (?, ?)", (digest, canonical(files)))


PARTS = {"kind": "toy"}
DIGEST = digest_value("content")


def test_a_trace_under_another_key_or_without_outputs_is_a_miss(traces: Traces) -> None:
    trace = Trace(parts=PARTS, outputs={"out": DIGEST}, facts={}, seconds=1.0, worker="local")
    put(traces, digest_value(PARTS), trace, "x", ())
    put(traces, "f" * 64, trace, "y", ())
    assert traces.find(digest_value(PARTS)) == trace
    assert traces.find("f" * 64) is None
    assert traces.all_traces() == {digest_value(PARTS): trace}
    other = digest_value({"kind": "other"})
    put(traces, other, msgspec.structs.replace(trace, parts={"kind": "other"}, outputs={}), "z", ())
    assert traces.find(other) is None


@pytest.mark.parametrize(
    "files",
    [
        (),
        (File("../x", DIGEST, 1),),
        (File("a/../../x", DIGEST, 1),),
        (File("/etc/x", DIGEST, 1),),
        (File("a//b", DIGEST, 1),),
        (File("", DIGEST, 1),),
        (File(".", DIGEST, 1),),
        (File("x\0y", DIGEST, 1),),
        (File("x", "../../victim", 1),),
        (File("x", DIGEST[:-1], 1),),
        (File("x", DIGEST + "0", 1),),
        (File("x", "é" * 64, 1),),
        (File("good", DIGEST, 1), File("../x", DIGEST, 1)),
    ],
)
def test_a_tree_that_leaves_its_folder_or_has_no_files_is_a_miss(traces: Traces, files: tuple[File, ...]) -> None:
    digest = Tree(files).digest
    trace = Trace(parts=PARTS, outputs={"out": digest}, facts={}, seconds=1.0, worker="local")
    put(traces, digest_value(PARTS), trace, digest, files)
    assert traces.tree(digest) is None


def test_a_tree_with_another_digest_is_a_miss(traces: Traces) -> None:
    files = (File("a/b.onnx", DIGEST, 1), File("c..d", DIGEST, 2))
    trace = Trace(parts=PARTS, outputs={}, facts={}, seconds=1.0, worker="local")
    traces.record("key", trace, [Tree(files)])
    assert traces.tree(Tree(files).digest) == Tree(files)
    put(traces, "other", trace, DIGEST, files)
    assert traces.tree(DIGEST) is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    body=st.binary(max_size=200) | st.text(max_size=50) | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
)
def test_no_row_ends_a_command(traces: Traces, body: bytes | str | float) -> None:
    with traces._db.transaction() as db:
        for table, columns in {"traces": 3, "trees": 2, "latest": 4, "memo": 3}.items():
            db.execute(f"DELETE FROM {table}")
            db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})", ["k", *[body] * (columns - 1)])
    assert traces.find("k") is None
    assert traces.tree("k") is None
    assert traces.all_traces() == {}
    assert traces.recall(["k"]) == {}
    traces.last("k")
    traces.last_keys()
    traces.all_last()
    traces.forget([])


def rows_of(world: World, table: str) -> Callable[[bytes], None]:
    return lambda value: change(world.store, table, value)


@pytest.mark.parametrize("table", ["traces", "trees", "latest"])
def test_every_command_works_with_damaged_rows_and_plan_agrees_with_run(tmp_path: Path, table: str) -> None:
    world = World(tmp_path)
    world.manifest({"a": [{"text": "a"}]})
    assert world.run().code == 0
    change(world.store, table, b"{")
    (tmp_path / "out" / "m" / "a" / "model.onnx").unlink()  # so that no receipt answers
    store = ("--store", str(world.store))
    for command in (
        "plan manifest.yaml", "run -n manifest.yaml", "graph manifest.yaml", "status manifest.yaml",
        "explain m/a:toy -m manifest.yaml", "cache stats manifest.yaml", "gc --dry-run manifest.yaml",
        "cache verify manifest.yaml",
    ):  # fmt: skip
        ended = world.run_arguments([*ONNXBUILD, *command.split(), *store])
        assert ended.code == 0, (command, ended)
    lines = map(str.split, world.run(verb="plan").out.splitlines())
    planned = {words[1]: words[0] for words in lines if words[0] in {"hit", "run"}}
    expected = "hit" if table == "latest" else "run"
    assert planned["m:fetch"] == expected
    outcomes = world.run("--json").outcomes()
    assert {name: "hit" if outcome == "hit" else "run" for name, outcome in outcomes.items()} == planned
    assert world.delivered() == {"a": b"model " * 2000 + b"a"}


@pytest.mark.parametrize("damage", ["garbage", "truncated", "pages"])
def test_a_damaged_database_is_a_plain_refusal_or_is_repaired(tmp_path: Path, damage: str) -> None:
    world = World(tmp_path)
    world.manifest({f"t{number}": [{"text": str(number) * 900}] for number in range(8)})
    assert world.run().code == 0
    path = world.store / "traces.db"
    data = bytearray(path.read_bytes())
    if damage == "garbage":
        data = bytearray(b"no database" * 500)
    elif damage == "truncated":
        data = data[: len(data) // 2]
    else:
        for start in range(8192, len(data), 8192):
            data[start : start + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    (tmp_path / "out" / "m" / "t0" / "model.onnx").unlink()
    store = ("--store", str(world.store))
    for command in (
        "plan manifest.yaml", "graph manifest.yaml", "status manifest.yaml", "explain m/t1:toy -m manifest.yaml",
        "cache stats manifest.yaml", "gc manifest.yaml --dry-run", "gc manifest.yaml", "cache verify manifest.yaml",
        "run manifest.yaml",
    ):  # fmt: skip
        ended = world.run_arguments([*ONNXBUILD, *command.split(), *store])
        assert ended.code in {0, 1, 2}, (command, ended)
        assert "Traceback" not in ended.err, (command, ended)
        assert "BUG" not in ended.err + ended.out, (command, ended)
        assert ended.code == 0 or str(world.store) in ended.err + ended.out, (command, ended)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    assert world.run().code == 0  # as the hint says: everything is built again


def _of_no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def _of_no_tables(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=WAL")
    db.close()


@pytest.mark.parametrize("made", [_of_no_bytes, _of_no_tables])
def test_a_database_that_a_killed_run_only_began_is_an_empty_one(tmp_path: Path, made: Callable[[Path], None]) -> None:
    world = World(tmp_path)
    world.manifest({"a": [{"text": "a" * 99}]})
    assert world.run("--json").code == 0
    made(world.store / "traces.db")
    store = ("--store", str(world.store))
    for command in ("plan", "run -n", "graph", "status", "cache stats", "gc --dry-run"):
        ended = world.run_arguments([*ONNXBUILD, *command.split(), "manifest.yaml", *store])
        assert ended.code == 0, (command, ended)
    assert "2 of 2 actions would run" in world.run(verb="plan").out
    assert set(world.run("--json").outcomes().values()) == {"built"}
    assert set(world.run("--json").outcomes().values()) == {"hit"}


def test_a_folder_with_a_database_of_no_tables_is_no_store(tmp_path: Path) -> None:
    _of_no_bytes(tmp_path / "traces.db")
    assert not has_our_tables(tmp_path / "traces.db")


def test_a_store_whose_database_is_gone_builds_everything_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench(step("a", text="a"))
    (tmp_path / "store" / "traces.db").unlink()
    assert bench(step("a", text="a")) == {"a": "built"}
    assert bench(step("a", text="a")) == {"a": "hit"}


def test_a_failure_in_use_names_the_database(tmp_path: Path) -> None:
    Store(tmp_path / "store").close()
    store = Store(tmp_path / "store")
    with store.traces._db.transaction() as db:
        db.execute("DROP TABLE traces")
    with pytest.raises(DatabaseFailed) as raised:
        store.traces.find("f" * 64)
    assert (raised.value.filename, raised.value.strerror) == (
        str(tmp_path / "store" / "traces.db"),
        "no such table: traces",
    )
    with pytest.raises(DiagnosticError) as refused, store:
        store.traces.find("f" * 64)
    (one,) = refused.value.diagnostics
    assert (one.code, one.message) == (
        "OB040",
        f"the store {tmp_path / 'store'} cannot be used: no such table: traces",
    )
    assert f"or remove {tmp_path / 'store' / 'traces.db'}: everything is then built again" in one.notes[0][1]


def test_the_reason_of_sqlite_is_replaced_where_the_disk_has_a_better_one(tmp_path: Path, monkeypatch) -> None:
    vague = sqlite3.OperationalError("disk I/O error")
    assert database_error_in_words(tmp_path, vague) == "disk I/O error"
    assert (
        database_error_in_words(tmp_path, sqlite3.DatabaseError("file is not a database")) == "file is not a database"
    )
    monkeypatch.setattr("onnxbuild.store.database._is_read_only", lambda _root: True)
    assert database_error_in_words(tmp_path, vague) == "Read-only file system"
    assert (
        database_error_in_words(tmp_path, OSError(28, "No space left on device"))
        == "[Errno 28] No space left on device"
    )
    monkeypatch.setattr("onnxbuild.store.database._is_read_only", lambda _root: False)
    monkeypatch.setattr("shutil.disk_usage", lambda _root: SimpleNamespace(free=60_000))
    assert database_error_in_words(tmp_path, vague) == "the disk is full"
    monkeypatch.setattr("shutil.disk_usage", lambda _root: SimpleNamespace(free=70_000))
    assert database_error_in_words(tmp_path, vague) == "disk I/O error"


def test_only_what_is_not_known_to_be_shared_with_a_remote_store_is_unshared(traces: Traces) -> None:
    traces.mark_shared("one", ["a", "b"])
    traces.mark_shared("other", ["c"])
    assert traces.unshared("one", ["a", "b", "c"]) == ["c"]
    assert traces.unshared("other", ["a", "b", "c"]) == ["a", "b"]


@pytest.mark.parametrize(
    "script",
    [
        (
            "DROP TABLE trees; CREATE VIEW trees AS WITH RECURSIVE r(digest, files) AS "
            "(SELECT 1, 1 UNION ALL SELECT digest + 1, files FROM r) SELECT * FROM r"
        ),
        "CREATE TRIGGER t AFTER INSERT ON memo BEGIN DELETE FROM traces; END",
        (
            "DROP TABLE trees; CREATE TABLE trees (digest TEXT PRIMARY KEY, body BLOB, "
            "files BLOB AS (printf('%.*c', 500000000, 'x')))"
        ),
        "CREATE TABLE more (x)",
    ],
)
@pytest.mark.parametrize("readonly", [True, False])
def test_a_database_that_could_compute_something_is_refused(tmp_path: Path, script: str, *, readonly: bool) -> None:
    """A view without an end would keep every command busy, and SQLite heeds no signal meanwhile."""
    Store(tmp_path / "store").close()
    with sqlite3.connect(tmp_path / "store" / "traces.db") as db:
        db.executescript(script)
    db.close()
    with pytest.raises(DiagnosticError) as refused:
        Store(tmp_path / "store", readonly=readonly)
    assert [one.code for one in refused.value.diagnostics] == ["OB040"]
    assert "is not one of a store" in str(refused.value)


@pytest.mark.parametrize(
    ("remote", "signer"), [("s3://x", "zz"), ("s3://x", b"\xff"), ("s3://x\nforged line", ""), (b"\xff", "")]
)
def test_an_origin_that_is_damaged_is_unknown_and_signed_by_nobody(
    traces: Traces, remote: object, signer: object
) -> None:
    with traces._db.transaction() as db:
        db.execute("INSERT INTO origins VALUES (?, ?, ?)", ("key", remote, signer))
    assert traces.origin("key") == Origin("an unknown store", "")
