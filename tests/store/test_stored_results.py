"""One store, its results and a remote one: what counts as a result, what is fetched, and what is shared."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.digest import digest_value
from onnxbuild.store import locks
from onnxbuild.store.content import DamagedBlob, Tree
from onnxbuild.store.database import DATABASE, GENERATION
from onnxbuild.store.remote.parcel import Parcel, parcel_of
from onnxbuild.store.store import Store, opened
from onnxbuild.store.traces import Origin, Trace

PARTS = {"kind": "cat"}
KEY = digest_value(PARTS)
NOBODY, CI = Origin("s3://b", ""), Origin("s3://b", "ab" * 32)


class Elsewhere:
    """A remote store that has one parcel, and its files in a folder."""

    identity = "s3://b"
    address = SimpleNamespace(shown="s3://b")

    def __init__(self, parcel: Parcel | None = None, contents: dict[str, bytes] | None = None) -> None:
        self.parcel, self.contents = parcel, contents or {}
        self.ours, self.sent, self.calls, self.closed = True, 7, [], False

    def offer(self, key: str) -> Parcel | None:
        self.calls.append(("offer", key))
        return self.parcel

    def fetch(self, parcel: Parcel, content: Any, work: Path, tell: Any) -> dict[str, Path] | None:
        tell(1, 2)
        missing = {digest: file for digest, file in parcel.files.items() if not content.has(Tree((file,)))}
        if not missing.keys() <= self.contents.keys():
            return None
        for digest in missing:
            (work / digest).write_bytes(self.contents[digest])
        return {digest: work / digest for digest in missing}

    def has_ours(self, parcel: Parcel) -> bool:
        assert parcel is self.parcel
        return self.ours

    def push(self, key: str, parcel: Parcel, content: Any, tell: Any, *, replaces: bool = False) -> int | None:
        self.calls.append(("push", key, parcel))
        if isinstance(self.sent, Exception):
            raise self.sent
        return self.sent

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as one:
        yield one


def publish(store: Store, *texts: str) -> Trace:
    ports = {}
    for number, text in enumerate(texts):
        ports[f"out{number}"] = store.workspace()
        (ports[f"out{number}"] / "file").write_text(text)
    return store.publish(KEY, Trace(parts=PARTS, outputs={}, facts={"f": 1}, seconds=2.0, worker="w"), ports)


def remote_of(tmp_path: Path, *texts: str) -> Elsewhere:
    with Store(tmp_path / "another", claims=False) as other:
        trace = publish(other, *texts)
        parcel = parcel_of(trace, map(other.tree, trace.outputs.values()))
        return Elsewhere(parcel, {digest: other.content.path(digest).read_bytes() for digest in parcel.files})


def test_a_new_result_is_recorded_with_its_outputs_and_its_time(store: Store, monkeypatch) -> None:
    assert store.lookup(KEY) is None
    monkeypatch.setattr(time, "time", lambda: 1234.5)
    trace = publish(store, "a", "b")
    assert store.lookup(KEY) == trace == store.traces.find(KEY)
    assert (trace.parts, trace.facts, trace.seconds, trace.worker, trace.created) == (PARTS, {"f": 1}, 2.0, "w", 1234.5)
    texts = [
        store.content.path(store.tree(trace.outputs[port]).files[0].digest).read_text() for port in ("out0", "out1")
    ]
    assert texts == ["a", "b"]
    assert store.traces.origin(KEY) is None


def test_a_result_without_one_of_its_files_or_trees_is_none(store: Store) -> None:
    trace = publish(store, "a", "b")
    store.content.drop(store.tree(trace.outputs["out1"]).files[0].digest)
    assert (store.holds(trace), store.lookup(KEY)) == (False, None)
    trace = publish(store, "a", "b")
    assert store.holds(trace)
    with store.traces._db.transaction() as db:
        db.execute("DELETE FROM trees WHERE digest = ?", (trace.outputs["out0"],))
    assert (store.holds(trace), store.lookup(KEY)) == (False, None)
    with pytest.raises(OSError, match="missing or damaged") as raised:
        store.tree(trace.outputs["out0"])
    error = raised.value
    assert (error.errno, error.filename) == (errno.EIO, str(store.root / DATABASE))
    assert error.strerror == "the list of a result's files is missing or damaged"


@pytest.mark.parametrize(
    ("origin", "trust", "own", "counts"),
    [
        (None, (), False, True), (None, (), True, True), (None, (CI.signer,), False, True),
        (NOBODY, (), False, True), (NOBODY, (), True, False), (NOBODY, (CI.signer,), False, False),
        (CI, (), False, True), (CI, (CI.signer,), False, True), (CI, ("cd" * 32,), False, False),
        (CI, (CI.signer,), True, False),
    ],
)  # fmt: skip
def test_which_results_count(tmp_path: Path, origin, trust, own, counts) -> None:
    with Store(tmp_path / "store", trust=frozenset(trust)) as store:
        trace = publish(store, "a")
        store.traces.record(KEY, trace, [], origin)
        assert store.refused(KEY, own=own) == (None if counts else origin)
        assert (store.lookup(KEY, own=own) is not None) is counts
        assert store.refused("f" * 64, own=own) is None


def test_a_result_is_fetched_with_its_origin_and_only_once(tmp_path: Path) -> None:
    remote, told = remote_of(tmp_path, "a", "b"), []
    with Store(tmp_path / "store", remote=remote) as store:
        assert store.offered(KEY) == remote.parcel.trace
        assert store.lookup(KEY) is None
        remote.calls.clear()
        trace = store.obtain(KEY, lambda *progress: told.append(progress))
        assert (trace.outputs, told) == (remote.parcel.trace.outputs, [(1, 2)])
        assert store.lookup(KEY) == trace
        assert store.traces.origin(KEY) == Origin("s3://b", "")
        assert store.traces.unshared("s3://b", [KEY]) == []
        assert store.obtain(KEY) == trace
        assert remote.calls == [("offer", KEY)]
        assert [path.name for path in store.workspace().parent.iterdir() if path.is_dir()][1:] == []
    assert remote.closed


def is_final(trace: Trace) -> bool:
    return trace.facts["f"] == 1


def publish_provisional(store: Store, text: str) -> Trace:
    folder = store.workspace()
    (folder / "file").write_text(text)
    trace = Trace(parts=PARTS, outputs={}, facts={"f": 0}, seconds=2.0, worker="w")
    return store.publish(KEY, trace, {"out0": folder}, is_final=is_final)


def test_a_result_that_is_not_final_gives_way_to_one_of_the_remote_store(tmp_path: Path) -> None:
    remote = Elsewhere()
    with Store(tmp_path / "store", remote=remote) as store:
        ours = publish_provisional(store, "ours")
        generation = (store.root / GENERATION).read_bytes()
        assert store.obtain(KEY, is_final=is_final) == ours  # nothing is offered
        assert store.obtain(KEY) == ours
        assert remote.calls == [("offer", KEY)]
        assert (store.root / GENERATION).read_bytes() == generation
        better = remote_of(tmp_path, "theirs")
        remote.parcel, remote.contents = better.parcel, {}
        assert store.obtain(KEY, is_final=is_final) == ours  # its file does not arrive
        remote.contents = better.contents
        taken = store.obtain(KEY, is_final=is_final)
        assert (taken.outputs, store.lookup(KEY)) == (better.parcel.trace.outputs, taken)
        # A receipt of a run before answers with what was replaced.
        assert (store.root / GENERATION).read_bytes() != generation
        assert publish_provisional(store, "again") == taken
        assert store.lookup(KEY) == taken


def test_what_is_not_final_elsewhere_is_no_better(tmp_path: Path) -> None:
    remote = remote_of(tmp_path, "theirs")
    with Store(tmp_path / "store", remote=remote) as store:
        ours = publish_provisional(store, "ours")
        assert store.obtain(KEY, is_final=lambda _trace: False) == ours


def test_what_somebody_else_signed_is_to_be_shared_again(tmp_path: Path) -> None:
    remote = remote_of(tmp_path, "a")
    remote.ours = False
    with Store(tmp_path / "store", remote=remote) as store:
        assert store.obtain(KEY) is not None
        assert store.traces.unshared("s3://b", [KEY]) == [KEY]


def test_what_is_not_offered_or_does_not_arrive_is_none(tmp_path: Path) -> None:
    remote = remote_of(tmp_path, "a")
    remote.contents = {}
    for one in (None, Elsewhere(), remote):
        with Store(tmp_path / "store", remote=one) as store:
            assert store.obtain(KEY) is None
            assert (store.offered(KEY) is not None) is (one is remote)
            assert store.traces.all_traces() == {}
            assert list(store.content.blobs()) == []


def test_a_file_that_a_collection_removes_meanwhile_makes_no_result(tmp_path: Path, monkeypatch) -> None:
    remote = remote_of(tmp_path, "a")
    with Store(tmp_path / "store", remote=remote) as store:
        monkeypatch.setattr(store.content, "adopt", lambda *_: None)  # as if it were removed at once
        assert store.obtain(KEY) is None
        assert store.traces.unshared("s3://b", [KEY]) == [KEY]


def test_what_is_shared_is_marked_and_what_cannot_be_is_not(tmp_path: Path) -> None:
    remote = Elsewhere()
    with Store(tmp_path / "store", remote=remote) as store:
        assert store.share(KEY) is None  # there is no such result
        trace = publish(store, "a", "b")
        for sent, answer, marked in (
            (None, None, False),
            (DamagedBlob("f" * 64, "damaged"), None, False),
            (7, 7, True),
        ):
            remote.sent = sent
            assert store.share(KEY) == answer
            assert (store.traces.unshared("s3://b", [KEY]) == []) is marked
        assert remote.calls == [("push", KEY, parcel_of(trace, map(store.tree, trace.outputs.values())))] * 3
        store.content.drop(store.tree(trace.outputs["out0"]).files[0].digest)
        assert store.share(KEY) is None
    with Store(tmp_path / "store") as store:
        publish(store, "a", "b")
        assert store.share(KEY) is None  # there is no remote store
    with Store(tmp_path / "store", remote=remote, trust=frozenset({"cd" * 32})) as store:
        store.traces.record(KEY, trace, [], NOBODY)
        assert store.share(KEY) is None  # a result that this store rejects is not offered to others
    assert len(remote.calls) == 3


def test_working_folders_are_new_and_empty_and_gone_at_the_end(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        one, two = store.workspace(), store.workspace()
        assert one != two
        assert one.parent == two.parent
        assert list(one.iterdir()) == list(two.iterdir()) == []
        assert len(one.name) == 12
    assert list((tmp_path / "store" / "work").iterdir()) == []


def test_the_lock_of_a_key_is_one_in_the_folder_of_locks(store: Store) -> None:
    waits: list[object] = []
    with store.lock(KEY, waits.append, lambda: False):
        assert locks.is_held(store.root / "locks" / KEY)
        with pytest.raises(locks.Waiting), store.lock(KEY, waits.append, lambda: True):
            pass
        assert len(waits) == 1
    assert not locks.is_held(store.root / "locks" / KEY)


def test_a_store_that_is_read_remembers_no_digests(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    Store(tmp_path / "store").close()
    for readonly, known in ((True, 0), (False, 1)):
        with Store(tmp_path / "store", readonly=readonly) as store:
            assert [file.name for file in store.digest_files(str(tmp_path), ("file",)).files] == ["file"]
            assert len(store.traces.recall([str(tmp_path / "file")])) == known


def test_a_store_is_opened_for_reading_or_for_writing(tmp_path: Path) -> None:
    remote = Elsewhere()
    for write in (False, True):
        with opened(tmp_path / "store", write=write, remote=remote, trust=frozenset({"x"})) as store:
            assert (store.readonly, store.remote, store.root) == (not write, remote, tmp_path / "store")
            assert (tmp_path / "store").exists() is write
            assert (store._claims is not None) is write


@pytest.mark.parametrize(("content", "hint"), [
    (b"no database" * 500, ", or remove {database}: everything is then built again"), (None, ""),
])  # fmt: skip
def test_a_store_that_cannot_be_used_says_how_to_go_on(tmp_path: Path, content: bytes | None, hint: str) -> None:
    root = tmp_path / "store"
    if content is None:
        root.touch()
    else:
        Store(root).close()
        (root / DATABASE).write_bytes(content)
    with pytest.raises(DiagnosticError) as raised:
        Store(root)
    (one,) = raised.value.diagnostics
    assert one.code == "OB040"
    assert one.message.startswith(f"the store {root} cannot be used: ")
    expected = "name another with `--store DIR` or ONNXBUILD_STORE" + hint.format(database=root / DATABASE)
    assert one.notes == (("hint", expected),)
