"""What a remote store costs a run when something is wrong with it: each warning whole, once, and what follows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onnxbuild.digest import digest_value
from onnxbuild.store.content import Content, DamagedBlob, Tree
from onnxbuild.store.remote import remote_store
from onnxbuild.store.remote.address import address_of
from onnxbuild.store.remote.parcel import Parcel, parcel_of, plain_object, trace_name
from onnxbuild.store.remote.remote_errors import DamagedObject, RemoteUnusable
from onnxbuild.store.remote.remote_store import Remote
from onnxbuild.store.remote.signing import PublicKey
from onnxbuild.store.traces import Trace

TRUSTED = (PublicKey("ci", b"\1" * 32), PublicKey("team", b"\2" * 32))


class Objects:
    """A backend that keeps objects in memory. `failure`: raised by every call from now on."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self.failure: Exception | None = None
        self.closed = False

    def _called(self, how: str, name: str) -> bytes | None:
        self.calls.append((how, name.partition("/")[0]))
        if self.failure is not None:
            raise self.failure
        return self.objects.get(name)

    def read(self, name: str, most_bytes: int) -> bytes | None:
        assert most_bytes == (16 << 20) + 1
        return self._called("read", name)

    def read_part(self, name: str, start: int, end: int) -> bytes | None:
        data = self._called("part", name)
        return None if data is None else data[start:end]

    def size(self, name: str) -> int | None:
        data = self._called("size", name)
        return None if data is None else len(data)

    def write(self, name: str, data: bytes) -> None:
        self._called("write", name)
        self.objects[name] = data

    def upload(self, name: str, file: Path) -> None:
        self._called("upload", name)
        self.objects[name] = file.read_bytes()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def content(tmp_path: Path) -> Content:
    return Content(tmp_path / "store")


def remote(objects: Objects, tmp_path: Path, **more: Any) -> Remote:
    return Remote(address_of("s3://bucket/x?token=hush", tmp_path), backend=objects, **more)


def result(content: Content, tmp_path: Path, *texts: str, name: str = "f") -> tuple[str, Parcel]:
    folder = tmp_path / "fresh"
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        (folder / f"{name}{number}").write_text(text)
    tree = content.ingest(folder)
    trace = Trace(parts={"kind": "cat", "n": texts}, outputs={"out": tree.digest}, facts={}, seconds=1.0, worker="w")
    return digest_value(trace.parts), parcel_of(trace, [tree])


def warnings(one: Remote) -> list[tuple[str, str, str, tuple[tuple[str, str], ...]]]:
    return [(warning.code, warning.severity, warning.message, warning.notes) for warning in one.warnings]


def warning(code: str, message: str, hint: str) -> tuple[str, str, str, tuple[tuple[str, str], ...]]:
    return code, "warning", message, (("hint", hint),)


STORE = "the remote store s3://bucket/x"


def test_a_store_that_fails_is_switched_off_for_the_rest_of_the_run(objects, content, tmp_path) -> None:
    one = remote(objects, tmp_path)
    key, parcel = result(content, tmp_path, "a")
    assert one.usable
    objects.failure = RemoteUnusable("no answer")
    assert one.offer(key) is None
    assert not one.usable
    expected = warning(
        "OB045",
        f"{STORE} cannot be used: no answer",
        "nothing more is asked of it in this command; `--offline` does without it",
    )
    assert warnings(one) == [expected]
    calls = len(objects.calls)
    objects.failure = None
    assert (one.offer(key), one.push(key, parcel, content)) == (None, None)
    assert (len(objects.calls), warnings(one)) == (calls, [expected])
    one.close()
    assert objects.closed


@pytest.mark.parametrize("failure", [RemoteUnusable, OSError, ImportError])
def test_a_store_that_cannot_be_written_is_one_warning(objects, content, tmp_path, failure) -> None:
    one = remote(objects, tmp_path)
    key, parcel = result(content, tmp_path, "a", "b")
    objects.failure = failure("it is full")
    assert one.push(key, parcel, content) is None
    hint = "nothing more is asked of it in this command; `--offline` does without it"
    assert warnings(one) == [warning("OB045", f"{STORE} cannot be written: it is full", hint)]


@pytest.mark.parametrize(
    ("readonly", "hint"),
    [(True, "the result is built locally"), (False, "the result is built locally, and written again")],
)
def test_a_damaged_trace_is_a_miss_and_is_written_again(
    objects, content, tmp_path, *, readonly: bool, hint: str
) -> None:
    one = remote(objects, tmp_path, readonly=readonly)
    key, parcel = result(content, tmp_path, "a")
    objects.objects[trace_name(key)] = b"{"
    assert one.offer(key) is None
    message = f"{STORE} contains a damaged object: {trace_name(key)}: it is not a trace (Input data was truncated)"
    assert warnings(one) == [warning("OB046", message, hint)]
    assert one.usable
    assert one.push(key, parcel, content) == (None if readonly else 1)
    assert objects.objects[trace_name(key)] == (b"{" if readonly else plain_object(parcel))
    other = digest_value("other")
    objects.objects[trace_name(other)] = b"{"
    assert one.offer(other) is None
    assert len(one.warnings) == 1  # what is wrong with one object is usually wrong with many


def test_what_no_trusted_key_has_signed_is_said_once_and_only_if_there_is_something(objects, content, tmp_path) -> None:
    key, parcel = result(content, tmp_path, "a")
    one = remote(objects, tmp_path, trust=TRUSTED)
    assert one.offer(key) is None
    assert one.warnings == []
    assert objects.calls == [("read", "signed"), ("read", "signed"), ("size", "traces")]
    objects.objects[trace_name(key)] = plain_object(parcel)
    assert one.offer(key) is None
    assert one.offer(key) is None
    message = f"{STORE} has results that no trusted key has signed"
    assert warnings(one) == [warning("OB076", message, "they are built locally; trusted is `ci`, `team`")]
    assert objects.calls.count(("size", "traces")) == 2


def test_a_result_that_is_larger_than_the_free_space_is_not_fetched(objects, content, tmp_path, monkeypatch) -> None:
    key, parcel = result(content, tmp_path, "12345", "123")
    remote(objects, tmp_path).push(key, parcel, content)
    empty = Content(tmp_path / "other")
    for free, arrives in ((7, False), (8, True)):
        one = remote(objects, tmp_path)
        monkeypatch.setattr(remote_store.shutil, "disk_usage", lambda _place, free=free: SimpleNamespace(free=free))
        places = one.fetch(parcel, empty, tmp_path, lambda _done, _all: None)
        assert (places is not None) is arrives
        message = f"{STORE} has a result of 0.0 GB"
        hint = "the disk has less space: the result is built locally"
        assert warnings(one) == ([] if arrives else [warning("OB078", message, hint)])
        assert one.usable


def test_a_result_that_other_machines_refuse_is_not_written(objects, content, tmp_path) -> None:
    key, parcel = result(content, tmp_path, "a", name="a\n")
    one = remote(objects, tmp_path)
    assert one.push(key, parcel, content) == 0
    message = "a result of kind `cat` cannot be shared: a tree does not match its name"
    assert warnings(one) == [warning("OB078", message, "other machines build it themselves")]
    assert objects.calls == []


def test_what_is_sent_is_counted_and_nothing_is_sent_twice(objects, content, tmp_path) -> None:
    one, told = remote(objects, tmp_path), []
    key, parcel = result(content, tmp_path, "12345", "123")
    assert one.push(key, parcel, content, lambda done, total: told.append((done, total))) == 8
    assert {total for _, total in told} == {8}
    assert told[-1] == (8, 8)
    assert sorted(objects.calls) == sorted(
        [("size", "blobs"), ("upload", "blobs")] * 2 + [("size", "traces"), ("write", "traces")]
    )
    assert objects.calls[-1] == ("write", "traces")  # a reader of the trace finds its content
    objects.calls.clear()
    other, more = result(content, tmp_path, "12345", "1234567")
    assert one.push(other, more, content) == 7
    assert objects.calls.count(("size", "blobs")) == 1  # it knows that the store has the first file
    objects.calls.clear()
    assert remote(objects, tmp_path).push(key, parcel, content) == 0
    assert {how for how, _ in objects.calls} == {"size"}


def test_an_object_of_another_size_is_written_again_and_a_damaged_file_is_not_shared(
    objects, content, tmp_path
) -> None:
    key, parcel = result(content, tmp_path, "12345")
    (name,) = (f"blobs/{digest[:2]}/{digest}" for digest in parcel.files)
    objects.objects[name] = b"123"
    assert remote(objects, tmp_path).push(key, parcel, content) == 5
    assert objects.objects[name] == b"12345"
    del objects.objects[name]
    blob = content.path(next(iter(parcel.files)))
    blob.chmod(0o644)
    blob.write_text("54321")
    with pytest.raises(DamagedBlob):
        remote(objects, tmp_path).push(key, parcel, content)
    assert name not in objects.objects


def test_only_what_is_missing_here_is_fetched(objects, content, tmp_path) -> None:
    key, parcel = result(content, tmp_path, "12345", "123")
    remote(objects, tmp_path).push(key, parcel, content)
    objects.calls.clear()
    assert remote(objects, tmp_path).fetch(parcel, content, tmp_path, lambda _done, _all: None) == {}
    assert objects.calls == []
    long = next(file for file in parcel.files.values() if file.size == 5)
    content.drop(long.digest)
    told: list[tuple[float, float]] = []
    one = remote(objects, tmp_path)
    places = one.fetch(parcel, content, tmp_path, lambda done, total: told.append((done, total)))
    assert places == {long.digest: tmp_path / long.digest}
    assert places[long.digest].read_text() == "12345"
    assert told == [(5, 5)]
    content.adopt(places[long.digest], long.digest, 5)
    objects.calls.clear()
    one.push(key, parcel, content)
    assert objects.calls.count(("size", "blobs")) == 1  # what it has fetched it need not ask for


def test_damaged_content_makes_its_trace_suspect_too(objects, content, tmp_path) -> None:
    """The result that is built instead may have other files."""
    key, parcel = result(content, tmp_path, "12345")
    remote(objects, tmp_path).push(key, parcel, content)
    (name,) = (name for name in objects.objects if name.startswith("blobs"))
    objects.objects[name] = b"54321"
    one = remote(objects, tmp_path)
    assert one.fetch(parcel, Content(tmp_path / "other"), tmp_path, lambda _done, _all: None) is None
    assert [code for code, *_ in warnings(one)] == ["OB046"]
    objects.objects[trace_name(key)] = b"suspect"
    assert one.push(key, parcel, content) == 5
    assert (objects.objects[name], objects.objects[trace_name(key)]) == (b"12345", plain_object(parcel))
    objects.failure = RemoteUnusable("no answer")
    two = remote(objects, tmp_path)
    assert two.fetch(parcel, Content(tmp_path / "other"), tmp_path, lambda _done, _all: None) is None
    assert [(code, message) for code, _, message, _ in warnings(two)] == [
        ("OB045", f"{STORE} cannot be used: no answer")
    ]


def test_an_object_that_is_no_file_is_written_as_a_missing_one_is(objects, content, tmp_path, monkeypatch) -> None:
    key, parcel = result(content, tmp_path, "12345")

    def no_file(name: str) -> int:
        raise DamagedObject(name, "it is a folder")

    monkeypatch.setattr(objects, "size", no_file)
    assert remote(objects, tmp_path).push(key, parcel, content) == 5
    assert len(objects.objects) == 2
    assert content.has(Tree(parcel.trees[parcel.trace.outputs["out"]]))
