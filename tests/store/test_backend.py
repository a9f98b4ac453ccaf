"""Objects of a remote store, read and written in the way of each kind of server, and what its errors become."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onnxbuild.digest import digest_bytes
from onnxbuild.store.content import File
from onnxbuild.store.remote import backend as module
from onnxbuild.store.remote import bounded_reads, transfer
from onnxbuild.store.remote.address import address_of, fsspec_options, root_on
from onnxbuild.store.remote.backend import Backend, backend_error_in_words
from onnxbuild.store.remote.bounded_reads import read_range, size_of
from onnxbuild.store.remote.remote_errors import DamagedObject, RemoteUnusable
from onnxbuild.store.remote.transfer import Transfer, check_file

TEXT = b"0123456789"


class Fake:
    """A file system of fsspec that keeps its objects in memory, and what was called."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.client = SimpleNamespace(
            move=self._move, http=SimpleNamespace(close=lambda: self.calls.append(("close",)))
        )
        self.fails: BaseException | None = None

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if self.fails is not None:
            raise self.fails

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        self._note("cat", path, start, end)
        return self.objects[path][start:]  # a server that ignores the end

    def info(self, path: str) -> dict[str, Any]:
        self._note("info", path)
        return {"type": "file", "size": len(self.objects[path])}

    def pipe_file(self, path: str, data: bytes) -> None:
        self.objects[path] = data
        self._note("pipe", path)

    def put_file(self, source: str, path: str, **more: Any) -> None:
        self.objects[path] = Path(source).read_bytes()
        self._note("put", path, more)

    def makedirs(self, path: str, *, exist_ok: bool) -> None:
        self._note("makedirs", path, exist_ok)

    def _parent(self, path: str) -> str:
        return path.rpartition("/")[0]

    def _move(self, old: str, new: str, *, overwrite: bool) -> None:
        self._note("MOVE", overwrite)
        self.objects[new] = self.objects.pop(old)

    def mv(self, old: str, new: str) -> None:
        self._note("mv")
        self.objects[new] = self.objects.pop(old)

    def rm_file(self, path: str) -> None:
        self.calls.append(("rm",))
        del self.objects[path]


def on(fake: Any, url: str, tmp_path: Path, patience: float = 5.0) -> Backend:
    backend = Backend(address_of(url, tmp_path), patience_seconds=patience)
    backend._fs, backend._root = fake, "root"
    return backend


# -- a folder ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Backend:
    return Backend(address_of("remote", tmp_path))


def test_a_folder_gives_what_was_written_whole_and_in_parts(folder: Backend, tmp_path: Path) -> None:
    assert (folder.read("a/b/x", 100), folder.read_part("a/b/x", 0, 4), folder.size("a/b/x")) == (None, None, None)
    folder.write("a/b/x", b"before")
    folder.write("a/b/x", TEXT)
    (tmp_path / "source").write_bytes(TEXT * 2)
    folder.upload("a/b/y", tmp_path / "source")
    assert (folder.size("a/b/x"), folder.size("a/b/y"), folder.size("a/b")) == (10, 20, None)
    assert (folder.read("a/b/x", 100), folder.read("a/b/x", 3)) == (TEXT, b"012")
    parts = [folder.read_part("a/b/x", *part) for part in ((0, 4), (4, 10), (8, 20), (10, 12))]
    assert parts == [b"0123", b"456789", b"89", b""]
    names = sorted(path.name for path in (tmp_path / "remote").rglob("*"))
    assert names == ["a", "b", "x", "y"]
    folder.close()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_what_is_no_file_in_a_folder_is_damaged(folder: Backend, tmp_path: Path) -> None:
    (tmp_path / "remote" / "folder").mkdir(parents=True)
    (tmp_path / "remote" / "link").symlink_to("folder")
    os.mkfifo(tmp_path / "remote" / "fifo")
    expected = {
        "folder": "it is a folder, not a regular file",
        "link": "it is a symbolic link",
        "fifo": "it is a FIFO, not a regular file",
    }
    for name, damage in expected.items():
        with pytest.raises(DamagedObject) as raised:
            folder.read(name, 10)
        assert (raised.value.name, str(raised.value)) == (name, damage)
    for name in ("link", "fifo"):
        with pytest.raises(DamagedObject, match=r"^it is not a regular file$"):
            folder.size(name)


# -- the calls of each kind -------------------------------------------------------------------------------------------


def test_another_scheme_is_asked_for_a_range_and_never_gives_more(tmp_path: Path) -> None:
    fake = Fake()
    backend = on(fake, "memory://bucket", tmp_path)
    backend.write("x", TEXT)
    assert backend.read("x", 4) == b"0123"
    assert backend.read_part("x", 2, 5) == b"234"
    assert backend.size("x") == 10
    assert fake.calls == [
        ("pipe", "root/x"), ("cat", "root/x", 0, 4), ("cat", "root/x", 2, 5), ("info", "root/x"),
    ]  # fmt: skip
    fake.info = lambda _path: {"type": "directory", "size": 3}
    assert backend.size("x") is None
    fake.info = lambda _path: {"size": None}
    assert backend.size("x") == 0


@pytest.mark.parametrize("how", ["write", "upload"])
@pytest.mark.parametrize(("url", "move"), [("webdav://h/x", ("MOVE", True)), ("sftp://h/x", ("mv",))])
def test_an_object_has_its_name_only_when_it_is_whole(tmp_path: Path, url: str, move: tuple, how: str) -> None:
    fake = Fake()
    backend = on(fake, url, tmp_path)
    (tmp_path / "source").write_bytes(TEXT)

    def put() -> None:
        backend.write("a/x", TEXT) if how == "write" else backend.upload("a/x", tmp_path / "source")

    put()
    assert fake.objects == {"root/a/x": TEXT}
    assert fake.calls[0] == ("makedirs", "root/a", True)
    temporary = fake.calls[1][1]
    assert (temporary.startswith("root/a/x."), temporary.endswith(".part")) == (True, True)
    assert fake.calls[2:] == [move]
    fake.calls.clear()
    fake.fails = OSError(28, "the server is full")
    fake.makedirs = lambda *_path, **_how: None
    with pytest.raises(RemoteUnusable, match="the server is full"):
        put()
    assert (fake.objects, fake.calls[-1]) == ({"root/a/x": TEXT}, ("rm",))


@pytest.mark.parametrize("url", ["s3://b/x", "gs://b/x", "az://b/x", "memory://x"])
def test_where_writes_are_atomic_there_is_no_temporary_name(tmp_path: Path, url: str) -> None:
    fake = Fake()
    (tmp_path / "source").write_bytes(TEXT)
    on(fake, url, tmp_path).upload("a/x", tmp_path / "source")
    assert fake.calls == [("put", "root/a/x", {"chunksize": 8 << 20} if url.startswith("s3") else {})]


def test_connections_of_webdav_are_closed_and_only_those(tmp_path: Path) -> None:
    for url, calls in (("webdav://h/x", [("close",)]), ("s3://b/x", [])):
        fake = Fake()
        on(fake, url, tmp_path).close()
        assert fake.calls == calls
    Backend(address_of("webdav://h/x", tmp_path)).close()


class Bucket:
    """What s3fs offers, with an object that arrives in pieces."""

    def __init__(self) -> None:
        from fsspec.asyn import get_loop

        self.loop, self.asked, self.closed = get_loop(), [], 0

    def split_path(self, path: str) -> tuple[str, str, None]:
        bucket, _, key = path.partition("/")
        return bucket, key, None

    async def _call_s3(self, method: str, **asked: str) -> dict[str, Any]:
        self.asked.append((method, asked))
        left = bytearray(TEXT)

        async def read(size: int) -> bytes:
            piece = bytes(left[: min(size, 3)])
            del left[: len(piece)]
            return piece

        return {"Body": SimpleNamespace(read=read, close=self._close)}

    def _close(self) -> None:
        self.closed += 1


def test_an_object_of_s3_is_read_in_pieces_as_far_as_it_was_asked_for() -> None:
    bucket = Bucket()
    assert read_range(bucket, "s3", "bucket/a/x", None, 100, 5.0) == TEXT
    assert read_range(bucket, "s3a", "bucket/a/x", None, 5, 5.0) == b"01234"
    assert read_range(bucket, "s3", "bucket/a/x", 4, 6, 5.0) == b"012345"
    place = {"Bucket": "bucket", "Key": "a/x"}
    assert bucket.asked == [
        ("get_object", place), ("get_object", place), ("get_object", {**place, "Range": "bytes=4-9"}),
    ]  # fmt: skip
    assert bucket.closed == 3


def test_each_kind_of_webdav_has_bounded_reads(monkeypatch) -> None:
    monkeypatch.setattr(bounded_reads.bounded_webdav, "get", lambda *asked: asked)
    for scheme in ("webdav", "webdavs", "dav", "davs"):
        assert read_range("fs", scheme, "p", None, 7, 5.0) == ("fs", "p", 0, 7, 5.0)
        assert read_range("fs", scheme, "p", 3, 7, 5.0) == ("fs", "p", 3, 7, 5.0)


def test_the_size_of_a_missing_file_is_an_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        size_of(None, "file", str(tmp_path / "x"))


# -- errors, and how long an answer is waited for ---------------------------------------------------------------------


class AnswerError(Exception):
    response = {"Error": {"Code": "NoSuchBucket"}}  # noqa: RUF012 - as botocore has it


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportError("no s3fs\nmore"), "`s3:` needs `pip install onnxbuild[remote]` (no s3fs)"),
        (PermissionError("denied"), "access denied (denied)"),
        (FileNotFoundError("gone"), "it does not exist (gone)"),
        (NotImplementedError("x"), "`s3:` is read-only"),
        (OSError("  first line  \nsecond"), "first line  "),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_of_a_backend_in_words(error: Exception, words: str) -> None:
    assert backend_error_in_words(error, "s3") == words


def test_an_error_shows_no_secret(tmp_path: Path) -> None:
    fake = Fake()
    fake.fails = OSError("401 for me-me:hush-hush@h, that is hush-hush")
    with pytest.raises(RemoteUnusable) as raised:
        on(fake, "webdav://me-me:hush-hush@h/x", tmp_path).size("x")
    assert str(raised.value) == "401 for ***@h, that is ***"


def test_a_missing_object_is_none_and_a_missing_bucket_or_target_is_an_error(tmp_path: Path) -> None:
    fake = Fake()
    backend = on(fake, "memory://x", tmp_path)
    fake.fails = FileNotFoundError("gone")
    assert (backend.read_part("x", 0, 1), backend.size("x")) == (None, None)
    with pytest.raises(RemoteUnusable, match=r"^it does not exist \(gone\)$"):
        backend.write("x", TEXT)
    fake.fails.__cause__ = AnswerError()
    with pytest.raises(RemoteUnusable, match=r"^it does not exist \(gone\)$"):
        backend.size("x")
    fake.fails.__cause__ = OSError("another cause")
    assert backend.size("x") is None


def test_an_answer_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    fake, never = Fake(), threading.Event()
    fake.info = lambda _path: never.wait(20)
    with pytest.raises(RemoteUnusable, match=r"^no answer within 0 seconds$"):
        on(fake, "memory://x", tmp_path, patience=0.02).size("x")
    # Nor does it delay the end of the command.
    assert {thread.daemon for thread in threading.enumerate() if thread.name == "remote"} == {True}
    never.set()


def test_a_large_object_has_more_time(tmp_path: Path, monkeypatch) -> None:
    limits, reads = [], []
    monkeypatch.setattr(module, "_within", lambda seconds, function: limits.append(seconds) or function())
    monkeypatch.setattr(module, "read_range", lambda *asked: reads.append(asked[3:]) or b"")
    backend = on(Fake(), "memory://x", tmp_path, patience=3.0)
    (tmp_path / "source").write_bytes(bytes(1_000_000))
    backend.read("x", 5_000_000)
    backend.read_part("x", 7, 5_000_007)
    backend.write("x", bytes(500_000))
    backend.upload("x", tmp_path / "source")
    backend.size("x")
    assert limits == [3.0, 13.0, 4.0, 5.0, 3.0]
    assert reads == [(None, 5_000_000, 13.0), (7, 5_000_000, 13.0)]


def test_the_file_system_is_made_once_for_this_backend_alone(tmp_path: Path, monkeypatch) -> None:
    import fsspec

    made = []

    def filesystem(protocol: str, **options: Any) -> Any:
        made.append((protocol, options))
        fake = Fake()
        fake._strip_protocol = lambda url: url.partition("://")[2] + "/"
        return fake

    monkeypatch.setattr(fsspec, "filesystem", filesystem)
    backend = Backend(address_of("s3://bucket/x/", tmp_path), patience_seconds=8.0)
    backend.write("a", TEXT)
    backend.write("b", TEXT)
    assert set(backend._fs.objects) == {"bucket/x/a", "bucket/x/b"}
    assert backend._fs.retries == 2
    config = {
        "connect_timeout": 4.0, "read_timeout": 8.0, "retries": {"max_attempts": 2, "mode": "standard"},
        "max_pool_connections": 32,
    }  # fmt: skip
    assert made == [("s3", {"skip_instance_cache": True, "config_kwargs": config, "use_listings_cache": False})]


# -- the options of each scheme ---------------------------------------------------------------------------------------

NETRC = (
    "machine h.example login anna password from-netrc\nmachine empty.example login bert\ndefault login x password y\n"
)


@pytest.mark.parametrize(
    ("url", "by_user", "base", "auth"),
    [
        ("webdav://me%40:p%2Fw@h.example:81/a%20b", True, "http://h.example:81", ("me@", "p/w")),
        ("davs://me@h.example/a", False, "https://h.example", ("me", "")),
        ("dav://h.example:81/a", True, "http://h.example:81", ("anna", "from-netrc")),
        ("webdavs://h.example/a", False, "https://h.example", ("anna", "from-netrc")),
        ("webdav://h.example/a", False, "http://h.example", None),
        ("dav://h.example/a", False, "http://h.example", None),
        ("webdavs://empty.example/a", True, "https://empty.example", ("bert", "")),
        ("webdavs://other.example/a", True, "https://other.example", None),
    ],
)
def test_the_server_and_the_user_of_webdav(tmp_path: Path, monkeypatch, url, by_user, base, auth) -> None:
    (tmp_path / ".netrc").write_text(NETRC)
    (tmp_path / ".netrc").chmod(0o600)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    protocol, options = fsspec_options(address_of(url, tmp_path, by_user=by_user), 7.0)
    assert (protocol, options["base_url"], options["auth"], options["timeout"]) == ("webdav", base, auth, 7.0)
    assert sorted(options) == ["auth", "base_url", "event_hooks", "timeout"]
    assert sorted(options["event_hooks"]) == ["request", "response"]


@pytest.mark.parametrize("text", [None, b"machine", b"nonsense"])
def test_a_missing_or_damaged_netrc_names_nobody(tmp_path: Path, monkeypatch, text: bytes | None) -> None:
    if text is not None:
        (tmp_path / ".netrc").write_bytes(text)
        (tmp_path / ".netrc").chmod(0o600)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    _, options = fsspec_options(address_of("davs://h.example/a", tmp_path), 7.0)
    assert options["auth"] is None


def test_other_schemes_have_no_options(tmp_path: Path) -> None:
    assert fsspec_options(address_of("memory://x", tmp_path), 7.0) == ("memory", {})
    assert fsspec_options(address_of("s3a://x", tmp_path), 7.0)[0] == "s3"


def test_the_root_on_a_file_system(tmp_path: Path) -> None:
    filesystem = SimpleNamespace(_strip_protocol=lambda url: f"stripped {url}/")
    assert root_on(filesystem, address_of("s3://b/x/", tmp_path)) == "stripped s3://b/x"
    assert root_on(None, address_of("davs://u:p@h/a%20b/", tmp_path)) == "/a b"


# -- transfers --------------------------------------------------------------------------------------------------------


class Blobs:
    """A backend with blobs of these contents."""

    def __init__(self, *contents: bytes) -> None:
        self.contents = {digest_bytes(content): content for content in contents}
        self.sizes: list[int] = []
        self.parts: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def size(self, name: str) -> int:
        digest = name.rpartition("/")[2]
        assert name == f"blobs/{digest[:2]}/{digest}"
        with self._lock:
            self.sizes.append(len(self.contents[digest]))
        return len(self.contents[digest])

    def read_part(self, name: str, start: int, end: int) -> bytes | None:
        with self._lock:
            self.parts.append((start, end))
        content = self.contents.get(name.rpartition("/")[2])
        return None if content is None else content[start:end]


def fetched(blobs: Blobs, tmp_path: Path, *files: File) -> tuple[list[bytes], list[tuple[float, float]]]:
    places, told = {file.digest: tmp_path / file.digest for file in files}, []
    total = sum(file.size for file in files)
    Transfer(blobs, places, total, lambda done, of: told.append((done, of))).run(iter(files))
    return [places[file.digest].read_bytes() for file in files], told


def file_of(content: bytes) -> File:
    return File("x", digest_bytes(content), len(content))


def test_files_arrive_in_parts_at_their_places(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfer, "PART_BYTES", 4)
    contents = (b"", b"abc", b"abcd", TEXT)
    blobs = Blobs(*contents)
    arrived, told = fetched(blobs, tmp_path, *map(file_of, contents))
    assert tuple(arrived) == contents
    assert sorted(blobs.parts) == [(0, 3), (0, 4), (0, 4), (4, 8), (8, 10)]
    assert blobs.sizes == [10]  # only what has several parts is asked for its size
    assert max(done for done, _ in told) == 17
    assert {total for _, total in told} == {17}
    assert len(told) == 5


@pytest.mark.parametrize("stored", [None, TEXT[:-1]])
def test_a_part_that_is_missing_or_short_ends_the_transfer(tmp_path: Path, monkeypatch, stored: bytes | None) -> None:
    monkeypatch.setattr(transfer, "REQUESTS_AT_ONCE", 1)
    blobs, file = Blobs(b"other"), file_of(TEXT)
    blobs.contents[file.digest] = stored
    blobs.contents = {digest: content for digest, content in blobs.contents.items() if content is not None}
    with pytest.raises(DamagedObject) as raised:
        fetched(blobs, tmp_path, file, file_of(b"other"))
    assert (raised.value.name, str(raised.value)) == (
        f"blobs/{file.digest[:2]}/{file.digest}",
        "it is missing or cut short",
    )
    assert blobs.parts == [(0, 10)]  # the other file is not asked for any more


def test_an_object_of_another_size_is_refused_before_its_parts_are_counted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(transfer, "PART_BYTES", 4)
    blobs = Blobs(TEXT)
    with pytest.raises(DamagedObject, match=r"^it is missing or cut short$") as raised:
        fetched(blobs, tmp_path, File("x", digest_bytes(TEXT), 11))
    assert raised.value.name.endswith(digest_bytes(TEXT))
    assert blobs.parts == []


def test_a_file_that_has_arrived_is_compared_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(TEXT)
    check_file(tmp_path / "x", file_of(TEXT))
    with pytest.raises(DamagedObject) as raised:
        check_file(tmp_path / "x", file_of(TEXT[::-1]))
    name = digest_bytes(TEXT[::-1])
    assert (raised.value.name, str(raised.value)) == (
        f"blobs/{name[:2]}/{name}",
        "its content does not match its name",
    )
