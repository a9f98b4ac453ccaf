"""What is taken of an answer of a WebDAV server: each status, each limit, and whose answer it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from onnxbuild.store.remote import bounded_webdav
from onnxbuild.store.remote.bounded_webdav import get, hooks

httpx = pytest.importorskip("httpx", reason="remote stores need the extra `remote`")


class Server:
    """A file system of webdav4 whose server answers with this status and these chunks."""

    def __init__(self, status: int, *chunks: bytes) -> None:
        self.status, self.chunks, self.asked, self.read = status, chunks, [], 0
        self.client = SimpleNamespace(http=self, join_url=lambda path: f"http://h/{path}")

    @contextmanager
    def stream(self, method: str, url: str, **more: Any) -> Iterator[Any]:
        self.asked.append((method, url, more))
        yield SimpleNamespace(status_code=self.status, reason_phrase="Reason", iter_raw=self._raw)

    def _raw(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.read += 1
            yield chunk


def test_a_part_is_asked_for_and_no_more_is_read_than_that() -> None:
    server = Server(206, b"012", b"345", b"678")
    assert get(server, "a/x", 10, 5, 7.0) == b"01234"
    assert server.read == 2
    asked = {"headers": {"Range": "bytes=10-14"}, "follow_redirects": True}
    assert server.asked == [("GET", "http://h/a/x", asked)]
    assert get(Server(206, b"012", b"345"), "a/x", 0, 6, 7.0) == b"012345"
    assert get(Server(206, b"012"), "a/x", 0, 6, 7.0) == b"012"


def test_a_whole_answer_is_taken_only_from_its_beginning() -> None:
    assert get(Server(200, b"0123456789"), "x", 0, 4, 7.0) == b"0123"
    with pytest.raises(OSError, match=r"^the server answered 200 Reason$"):
        get(Server(200, b"0123456789"), "x", 1, 4, 7.0)


def test_what_each_status_means() -> None:
    with pytest.raises(FileNotFoundError, match=r"^a/x$"):
        get(Server(404), "a/x", 0, 4, 7.0)
    assert get(Server(416, b"an error"), "x", 10, 4, 7.0) == b""
    for status in (204, 301, 403, 500):
        with pytest.raises(OSError, match=f"^the server answered {status} Reason$"):
            get(Server(status, b"an error"), "x", 0, 4, 7.0)


def test_an_answer_in_small_pieces_ends_with_the_time(monkeypatch) -> None:
    clock = iter([100.0, 103.0, 107.0, 107.1])
    monkeypatch.setattr(bounded_webdav.time, "monotonic", lambda: next(clock))
    server = Server(206, *[b"x"] * 9)
    with pytest.raises(OSError, match=r"^the server's answer does not end$"):
        get(server, "x", 0, 9, 7.0)
    assert server.read == 3


def called(base: str, kind: str, value: Any) -> Any:
    (hook,) = hooks(base)[kind]
    hook(value)
    return value


@pytest.mark.parametrize(
    ("url", "is_same"),
    [
        ("http://h.example:81/other", True), ("https://h.example:81/x", False), ("http://h.example/x", False),
        ("http://h.example:82/x", False), ("http://other.example:81/x", False),
    ],
)  # fmt: skip
def test_a_request_goes_to_the_server_of_the_address_alone(url: str, *, is_same: bool) -> None:
    request = SimpleNamespace(url=httpx.URL(url), headers={})
    if is_same:
        assert called("http://h.example:81/x", "request", request).headers == {"Accept-Encoding": "identity"}
    else:
        with pytest.raises(OSError, match=r"^the server redirects to another one$"):
            called("http://h.example:81/x", "request", request)


class Answer:
    def __init__(self, status: int, method: str, *chunks: bytes, encoding: str | None = None) -> None:
        self.status_code, self.request = status, SimpleNamespace(method=method)
        self.headers = {} if encoding is None else {"content-encoding": encoding}
        self.stream, self.closed = Stream(*chunks), False

    def close(self) -> None:
        self.closed = True


class Stream:
    def __init__(self, *chunks: bytes) -> None:
        self.chunks, self.closed = chunks, False

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.chunks)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_a_compressed_answer_is_closed_and_refused(encoding: str) -> None:
    answer = Answer(200, "GET", encoding=encoding)
    with pytest.raises(OSError, match=r"^the server compresses its answers$"):
        called("http://h/x", "response", answer)
    assert answer.closed


@pytest.mark.parametrize("encoding", [None, "", "identity", " Identity "])
@pytest.mark.parametrize(
    ("method", "status", "is_limited"),
    [("GET", 200, False), ("GET", 206, False), ("GET", 403, True), ("PUT", 200, True), ("PROPFIND", 206, True)],
)
def test_what_httpx_reads_by_itself_is_limited(monkeypatch, method, status, encoding, *, is_limited) -> None:
    monkeypatch.setattr(bounded_webdav, "_MOST_ANSWER_BYTES", 6)
    answer = Answer(status, method, b"012", b"345", encoding=encoding)
    before = answer.stream
    called("http://h/x", "response", answer)
    assert (answer.stream is not before) is is_limited
    assert list(answer.stream) == [b"012", b"345"]
    answer.stream.close()
    assert before.closed
    if is_limited:
        before.chunks = (b"012", b"345", b"6")
        with pytest.raises(OSError, match=r"^the server's answer does not end$"):
            list(answer.stream)


def test_what_httpx_reads_by_itself_ends_after_two_minutes(monkeypatch) -> None:
    answer = called("http://h/x", "response", Answer(403, "GET", *[b"x"] * 9))
    clock = iter([100.0, 150.0, 220.0, 220.1])
    monkeypatch.setattr(bounded_webdav.time, "monotonic", lambda: next(clock))
    taken = []
    with pytest.raises(OSError, match=r"^the server's answer does not end$"):
        taken.extend(answer.stream)
    assert next(clock, None) is None
