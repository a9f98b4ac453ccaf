"""The database of a store: how it is opened, what its errors become, and when its generation is a new one."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import sys
from pathlib import Path

import pytest

from onnxbuild.digest import canonical, digest_value
from onnxbuild.store import database as module
from onnxbuild.store.content import File, Tree
from onnxbuild.store.database import (
    DATABASE,
    GENERATION,
    Database,
    DatabaseFailed,
    NewerDatabase,
    has_our_tables,
    is_damaged,
    share_with_group,
)
from onnxbuild.store.traces import Last, Ran, Trace, Traces

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
DIGEST = digest_value("content")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / DATABASE


@pytest.fixture
def traces(path: Path):
    opened = Traces(path, readonly=False)
    yield opened
    opened.close()


def generation(path: Path) -> bytes:
    return path.with_name(GENERATION).read_bytes()


def of_code(code: int, text: str = "x") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


def trace(kind: str, *trees: Tree) -> tuple[str, Trace]:
    parts = {"kind": kind}
    outputs = {f"out{number}": tree.digest for number, tree in enumerate(trees)}
    return digest_value(parts), Trace(parts=parts, outputs=outputs, facts={}, seconds=1.0, worker="local")


def tree(name: str) -> Tree:
    return Tree((File(name, DIGEST, 1),))


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "number", "is_damage"),
    [
        (sqlite3.SQLITE_FULL, errno.ENOSPC, False),
        (sqlite3.SQLITE_READONLY, errno.EROFS, False),
        (sqlite3.SQLITE_READONLY | (1 << 8), errno.EROFS, False),  # an extended code
        (sqlite3.SQLITE_CANTOPEN, errno.EMFILE, False),
        (sqlite3.SQLITE_BUSY, errno.EAGAIN, False),
        (sqlite3.SQLITE_IOERR, errno.EIO, False),
        (sqlite3.SQLITE_CORRUPT, errno.EIO, True),
        (sqlite3.SQLITE_NOTADB, errno.EIO, True),
        (sqlite3.SQLITE_ERROR, errno.EIO, True),
    ],
)
def test_an_error_of_the_database_is_one_of_its_file(path: Path, code: int, number: int, is_damage: bool) -> None:  # noqa: FBT001
    database = Database(path, readonly=False)
    with pytest.raises(DatabaseFailed) as raised, database.transaction():
        raise of_code(code, "what SQLite says")
    error = raised.value
    assert (error.errno, error.strerror, error.filename) == (number, "what SQLite says", str(path))
    assert (error.is_damage, is_damaged(error), is_damaged(of_code(code))) == (is_damage,) * 3
    assert not is_damaged(OSError(number, "x"))
    database.close()


def test_a_closed_database_fails_as_a_file_does_in_each_call(path: Path) -> None:
    database = Database(path, readonly=False)
    database.close()
    for call in (
        database.write_back,
        lambda: database.one("SELECT ?", "x"),
        lambda: database.transaction().__enter__(),
    ):
        with pytest.raises(DatabaseFailed, match="closed"):
            call()


def test_what_failed_inside_a_transaction_is_not_kept(traces: Traces) -> None:
    key, one = trace("a", tree("a"))
    with pytest.raises(DatabaseFailed, match="UNIQUE"), traces._db.transaction() as db:
        db.executemany("INSERT INTO traces VALUES (?, ?, ?)", [(key, canonical(one), 0.0)] * 2)
    assert traces.find(key) is None


# -- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "writable", "seconds"),
    [
        (sqlite3.SQLITE_BUSY, True, 60.0),
        (sqlite3.SQLITE_BUSY, False, 60.0),
        (sqlite3.SQLITE_READONLY, True, 1.0),
        (sqlite3.SQLITE_CANTOPEN, True, 1.0),
        (sqlite3.SQLITE_READONLY, False, 0.0),
        (sqlite3.SQLITE_CANTOPEN, False, 0.0),
        (sqlite3.SQLITE_ERROR, True, 0.0),
    ],
)
def test_how_long_a_database_that_cannot_be_opened_is_tried_again(
    path: Path,
    monkeypatch,
    code: int,
    writable: bool,  # noqa: FBT001
    seconds: float,
) -> None:
    """Another process that creates it is waited for; the log of another user gets its mode just after."""
    clock = [0.0]
    tries = []

    def connect(place: Path, **_how: object) -> sqlite3.Connection:
        tries.append(place)
        raise of_code(code)

    def access(place: Path, mode: int) -> bool:
        assert (place, mode) == (path, os.W_OK)
        return writable

    monkeypatch.setattr(module.os, "access", access)
    monkeypatch.setattr(module.sqlite3, "connect", connect)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module.time, "sleep", lambda more: clock.__setitem__(0, clock[0] + more))
    with pytest.raises(sqlite3.OperationalError):
        Database(path, readonly=False)
    assert clock[0] == pytest.approx(seconds, abs=0.021)
    assert len(tries) == pytest.approx(1 + seconds / 0.01, abs=2)


def test_a_database_is_opened_again_once_another_process_has_created_it(path: Path, monkeypatch) -> None:
    own, tries = sqlite3.connect, []

    def connect(*arguments: object, **how: object) -> sqlite3.Connection:
        tries.append(how["timeout"])
        if len(tries) == 1:
            raise of_code(sqlite3.SQLITE_BUSY)
        return own(*arguments, **how)

    monkeypatch.setattr(module.sqlite3, "connect", connect)
    Database(path, readonly=False).close()
    assert tries == [60.0, 60.0]


def test_how_a_new_database_is_set_up(path: Path) -> None:
    database = Database(path, readonly=False)
    with database.transaction() as db:
        settings = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in
                    ("journal_mode", "synchronous", "user_version", "trusted_schema", "busy_timeout")}  # fmt: skip
    database.close()
    assert settings == {
        "journal_mode": "wal", "synchronous": 1, "user_version": 3, "trusted_schema": 0, "busy_timeout": 60_000,
    }  # fmt: skip


def test_a_newer_database_says_which_version_it_has(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=7")
    db.close()
    for readonly in (False, True):
        if not readonly:
            with pytest.raises(NewerDatabase) as raised:
                Database(path, readonly=readonly)
            assert str(raised.value) == "the version of its traces.db is 7, and this version knows 3"
    assert not has_our_tables(path)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE VIEW x AS SELECT 1", "the view `x` in it is not one of a store"),
        ("CREATE TABLE pets (name)", "the table `pets` in it is not one of a store"),
    ],
)
def test_what_is_not_one_of_our_tables_is_named_and_counts_as_damage(path: Path, statement: str, message: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(statement)
    db.close()
    for readonly in (False, True):
        with pytest.raises(sqlite3.DatabaseError) as raised:
            Database(path, readonly=readonly)
        assert str(raised.value) == message
        assert is_damaged(raised.value)
    assert not has_our_tables(path)


def test_what_is_a_database_of_a_store(path: Path, tmp_path: Path) -> None:
    assert not has_our_tables(path)
    (tmp_path / "text").write_text("no database")
    assert not has_our_tables(tmp_path / "text")
    assert not has_our_tables(tmp_path)
    Database(path, readonly=False).close()
    assert has_our_tables(path)


def test_reading_creates_nothing_and_reads_the_log_of_a_writer(path: Path, tmp_path: Path) -> None:
    empty = Traces(path, readonly=True)
    assert empty.all_traces() == {}
    empty.close()
    assert list(tmp_path.iterdir()) == []
    writer = Traces(path, readonly=False)
    key, one = trace("a", tree("a"))
    writer.record(key, one, [tree("a")])
    assert path.with_name(f"{DATABASE}-wal").stat().st_size > 0
    reader = Traces(path, readonly=True)
    assert reader.find(key) == one
    with pytest.raises(DatabaseFailed, match="readonly"):
        reader.record(key, one, [])
    reader.close()
    writer.close()


class Refusing(sqlite3.Connection):
    """A connection to a database in a folder where SQLite may create no index of the log."""

    def execute(self, *_statement: object) -> sqlite3.Cursor:
        raise of_code(sqlite3.SQLITE_CANTOPEN, "unable to open database file")


@pytest.mark.parametrize("refused", [1, 2, 3])
def test_a_database_that_sqlite_may_not_write_is_opened_for_reading(path: Path, monkeypatch, refused: int) -> None:
    """First as one that may be written, then read-only, then as one on a read-only file system."""
    Database(path, readonly=False).close()
    own, modes, failed = sqlite3.connect, [], []

    def connect(place: str, **how: object) -> sqlite3.Connection:
        modes.append(place.partition("?")[2])
        if len(modes) > refused:
            return own(place, **how)
        failed.append(own(":memory:", factory=Refusing))
        return failed[-1]

    monkeypatch.setattr(module.sqlite3, "connect", connect)
    if refused == 3:
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            Database(path, readonly=True)
    else:
        database = Database(path, readonly=True)
        assert database.one("SELECT count(*) FROM traces WHERE key != ?", "x") == (0,)
        database.close()
    assert modes == ["mode=rw", "mode=ro", "mode=ro&immutable=1"][: refused + 1]
    for connection in failed:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.total_changes  # noqa: B018 - it asks whether the connection is closed


# -- the size of the file, and its generation -------------------------------------------------------------------------


def test_writing_back_moves_the_log_into_the_file(path: Path, traces: Traces) -> None:
    key, one = trace("a", tree("a" * 20_000))
    before = path.stat().st_size
    traces.record(key, one, [tree("a" * 20_000)])
    assert path.stat().st_size == before
    traces.write_back()
    assert path.stat().st_size > before


def test_the_generation_is_new_with_a_new_database_and_when_results_are_forgotten(path: Path) -> None:
    traces = Traces(path, readonly=False)
    key, one = trace("a", tree("a"))
    traces.record(key, one, [tree("a")])
    first = generation(path)
    traces.forget([])
    traces.forget_scope("x")
    assert generation(path) == first
    traces.forget([key])
    second = generation(path)
    assert second != first
    traces.close()
    for readonly in (False, True):  # a store that is opened again is the same
        Traces(path, readonly=readonly).close()
        assert generation(path) == second
    path.with_name(GENERATION).unlink()
    Traces(path, readonly=True).close()
    assert not path.with_name(GENERATION).exists()
    Traces(path, readonly=False).close()
    third = generation(path)
    path.unlink()
    Traces(path, readonly=False).close()
    assert len({first, second, third, generation(path)}) == 4
    path.write_bytes(b"")
    Traces(path, readonly=False).close()
    assert generation(path) != third


def test_damaged_rows_are_forgotten_in_a_new_generation(path: Path, traces: Traces) -> None:
    with traces._db.transaction() as db:
        db.execute("INSERT INTO traces VALUES ('x', '{', 0.0)")
    first = generation(path)
    traces.forget([])
    assert generation(path) != first
    with traces._db.transaction() as db:
        assert db.execute("SELECT count(*) FROM traces").fetchone() == (0,)


# -- what is recorded, and forgotten ----------------------------------------------------------------------------------


def test_a_tree_stays_as_long_as_a_result_names_it(traces: Traces) -> None:
    (one, first), (two, second) = trace("one", tree("a"), tree("b")), trace("two", tree("b"), tree("c"))
    traces.record(one, first, [tree("a"), tree("b")])
    traces.record(two, second, [tree("b"), tree("c")])
    traces.forget([one])
    assert (traces.find(one), traces.find(two)) == (None, second)
    assert [traces.tree(tree(name).digest) for name in "abc"] == [None, tree("b"), tree("c")]
    with traces._db.transaction() as db:
        assert {row[0] for row in db.execute("SELECT digest FROM trees")} == {tree("b").digest, tree("c").digest}
    traces.forget([two])
    with traces._db.transaction() as db:
        assert db.execute("SELECT count(*) FROM trees").fetchone() == (0,)


def test_the_last_outcomes_of_one_manifest_are_its_own(traces: Traces, monkeypatch) -> None:
    monkeypatch.setattr("onnxbuild.store.traces.time.time", lambda: 1234.5)
    ran = Ran(outcome="built", seconds=2.0, at=7.0, key="k1", message="m")
    first = Last(key="k1", outcome="built", reasons=({"part": "kind"},), message="m", facts={"x": 1}, ran=ran)
    traces.note("one", {"a": first, "b": Last(key=None, outcome="failed")})
    traces.note("two", {"a": Last(key="k2", outcome="hit")})
    noted = traces.last("one")
    assert noted["a"] == Last(
        key="k1", outcome="built", reasons=({"part": "kind"},), at=1234.5, message="m", facts={"x": 1}, ran=ran
    )
    assert (noted["b"].key, noted["b"].outcome, noted["b"].at) == (None, "failed", 1234.5)
    assert traces.last_keys() == {"one": {"k1"}, "two": {"k2"}}
    assert {scope: sorted(lasts) for scope, lasts in traces.all_last().items()} == {"one": ["a", "b"], "two": ["a"]}
    traces.note("one", {"b": Last(key="k3", outcome="built")})
    assert traces.last_keys()["one"] == {"k1", "k3"}
    traces.forget_scope("one")
    assert (traces.last("one"), list(traces.all_last())) == ({}, ["two"])


def test_digests_of_files_are_remembered_with_their_signatures(traces: Traces) -> None:
    memos = {"a": ((1, 2, 3, 4), DIGEST), "b": ((5, 6, 7, 8), digest_value("b"))}
    traces.remember(memos)
    assert traces.recall(["a", "x", "b"]) == memos
    traces.remember({"a": ((9, 9, 9, 9), DIGEST)})
    assert traces.recall(["a"]) == {"a": ((9, 9, 9, 9), DIGEST)}
    with traces._db.transaction() as db:
        db.execute("UPDATE memo SET digest = 'no digest' WHERE path = 'a'")
    assert traces.recall(["a", "b"]) == {"b": memos["b"]}


def test_remembering_does_not_wait_for_another_writer_and_other_writes_do(path: Path, traces: Traces) -> None:
    """A digest that is not remembered costs a reading; a plan must not stand still for it."""
    other = sqlite3.connect(path, isolation_level=None)
    waited = []
    traces._db._connection.set_trace_callback(waited.append)
    other.execute("BEGIN IMMEDIATE")
    traces.remember({"a": ((1, 2, 3, 4), DIGEST)})
    other.execute("ROLLBACK")
    other.close()
    traces._db._connection.set_trace_callback(None)
    assert traces.recall(["a"]) == {}
    assert [line for line in waited if line.startswith("PRAGMA")] == [
        "PRAGMA busy_timeout = 100",
        "PRAGMA busy_timeout = 60000",
    ]
    traces.remember({"a": ((1, 2, 3, 4), DIGEST)})
    assert traces.recall(["a"]) == {"a": ((1, 2, 3, 4), DIGEST)}


def test_what_only_makes_later_runs_better_may_fail(traces: Traces) -> None:
    traces.close()
    traces.note("scope", {"a": Last(key="k", outcome="hit")})
    traces.remember({"a": ((1, 2, 3, 4), DIGEST)})
    traces.mark_shared("remote", ["k"])
    with pytest.raises(DatabaseFailed):
        traces.unshared("remote", ["k"])


# -- the group of a store ---------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(("of_folder", "expected"), [(0o2775, 0o664), (0o770, 0o660), (0o755, None), (0o700, None)])
def test_a_new_database_has_the_permissions_of_a_shared_folder_from_the_beginning(
    tmp_path: Path, of_folder: int, expected: int | None
) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    folder.chmod(of_folder)
    before = os.umask(0o077)
    try:
        share_with_group(folder / DATABASE)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == ({} if expected is None else {DATABASE: expected})


@posix
def test_a_database_and_its_log_are_opened_to_the_group_later(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    names = {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}
    for name in (*names, "other"):
        (folder / name).write_text("content")
        (folder / name).chmod(0o600)
    folder.chmod(0o775)
    share_with_group(folder / DATABASE)
    assert {path.name for path in folder.iterdir() if stat.S_IMODE(path.stat().st_mode) == 0o664} == names
    assert {path.read_text() for path in folder.iterdir()} == {"content"}
    (folder / DATABASE).unlink()

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    share_with_group(folder / DATABASE)  # SQLite then creates it
    assert {path.name for path in folder.iterdir()} == {*names, "other"} - {DATABASE}
