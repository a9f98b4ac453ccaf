"""Servers that somebody else runs: no answer costs more than a warning, whatever it contains and however slow it is."""

from __future__ import annotations

import gzip
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hostile import Answer, Hostile, head
from sharing import Machine
from toys import InlineRunner, step

from onnxbuild.store.remote.address import address_of
from onnxbuild.store.remote.backend import Backend
from onnxbuild.store.remote.remote_errors import DamagedObject, RemoteUnusable

WORLD = (step("a", text="spam"),)
MEMORY = 128 << 20


def endless(request: BaseHTTPRequestHandler) -> None:
    head(request, 200)
    while not request.hostile.stop.is_set():
        request.wfile.write(b" " * (1 << 20))


def endless_error(request: BaseHTTPRequestHandler) -> None:
    head(request, 403)
    while not request.hostile.stop.is_set():
        request.wfile.write(b" " * (1 << 20))


def endless_list(request: BaseHTTPRequestHandler) -> None:
    head(request, 207, Content_Type="application/xml")
    request.wfile.write(b"<d:multistatus xmlns:d='DAV:'>")
    while not request.hostile.stop.is_set():
        request.wfile.write(b"<d:response><d:href>/x</d:href></d:response>" * 10_000)


def drip(request: BaseHTTPRequestHandler) -> None:
    head(request, 200)
    while not request.hostile.stop.wait(0.05):
        request.wfile.write(b" ")
        request.wfile.flush()


BOMB = gzip.compress(b" " * (400 << 20), compresslevel=1)


def bomb(request: BaseHTTPRequestHandler) -> None:
    head(request, 200, Content_Encoding="gzip", Content_Length=str(len(BOMB)))
    request.wfile.write(BOMB)


def claims_a_terabyte(request: BaseHTTPRequestHandler) -> None:
    head(request, 206, Content_Length=str(1 << 40), Content_Range=f"bytes 0-{(1 << 40) - 1}/{1 << 40}")
    while not request.hostile.stop.is_set():
        request.wfile.write(b" " * (1 << 20))


ANSWERS = {one.__name__: one for one in (endless, endless_error, endless_list, drip, bomb, claims_a_terabyte)}


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Hostile]]:
    servers: list[Hostile] = []

    def start(answer: Answer) -> Hostile:
        servers.append(Hostile(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def webdav(server: Hostile, tmp_path: Path, *, user: str = "", patience: float = 2.0, **more: bool) -> Backend:
    address = address_of(f"webdav://{user}127.0.0.1:{server.port}/store", tmp_path, **more)
    return Backend(address, patience_seconds=patience)


@contextmanager
def bounded():
    """The body takes neither long nor much memory."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("method", ["read", "part", "size", "write"])
def test_webdav_no_answer_takes_long_or_much_memory(tmp_path, serve, answer, method) -> None:
    backend = webdav(serve(ANSWERS[answer]), tmp_path)
    calls = {
        "read": lambda: backend.read("x", 16 << 20),
        "part": lambda: backend.read_part("x", 0, 1 << 20),
        "size": lambda: backend.size("x"),
        "write": lambda: backend.write("x", b"x"),
    }
    with bounded(), suppress(RemoteUnusable, DamagedObject):
        data = calls[method]()
        assert data is None or (isinstance(data, bytes) and len(data) <= 16 << 20)
    backend.close()


@pytest.mark.parametrize("answer", ANSWERS)
def test_webdav_a_hostile_server_costs_one_warning_and_a_local_build(tmp_path, serve, answer) -> None:
    server = serve(ANSWERS[answer])
    alone = Machine(tmp_path / "one", f"webdav://127.0.0.1:{server.port}/x", InlineRunner(), patience=1.0)
    assert alone(*WORLD) == {"a": "built"}
    assert 1 <= len(alone.warnings) <= 2  # what was read is damaged, or nothing can be read; and then not written


def test_webdav_a_redirect_to_another_server_is_not_followed_and_gets_no_password(tmp_path, serve) -> None:
    target = serve(lambda request: head(request, 200, Content_Length="0"))
    where = f"http://127.0.0.1:{target.port}/"
    server = serve(lambda request: head(request, 302, Location=where, Content_Length="0"))
    backend = webdav(server, tmp_path, user="me:hush-hush@")
    with pytest.raises(RemoteUnusable, match="the server redirects to another one"):
        backend.read("x", 100)
    with pytest.raises(RemoteUnusable):
        backend.size("x")
    assert target.seen == []
    assert server.seen[0][2]["Authorization"].startswith("Basic ")


def test_webdav_asks_for_no_compression(tmp_path, serve) -> None:
    server = serve(lambda request: head(request, 404, Content_Length="0"))
    assert webdav(server, tmp_path).read("x", 100) is None
    assert server.seen[0][2]["Accept-Encoding"] == "identity"


def test_webdav_a_server_without_ranges_gives_the_beginning_and_no_wrong_part(tmp_path, serve) -> None:
    def whole(request: BaseHTTPRequestHandler) -> None:
        head(request, 200, Content_Length="10")
        request.wfile.write(b"0123456789")

    backend = webdav(serve(whole), tmp_path)
    assert backend.read_part("x", 0, 4) == b"0123"
    with pytest.raises(RemoteUnusable, match="the server answered 200 OK"):
        backend.read_part("x", 4, 8)


NETRC = "machine 127.0.0.1 login me password hush-hush\ndefault login anybody password hush-default\n"


@pytest.mark.parametrize(("by_user", "sent"), [(True, True), (False, False)])
def test_webdav_a_manifest_gets_no_unencrypted_password(tmp_path, serve, monkeypatch, by_user, sent) -> None:
    (tmp_path / ".netrc").write_text(NETRC)
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    server = serve(lambda request: head(request, 404, Content_Length="0"))
    webdav(server, tmp_path, by_user=by_user).read("x", 100)
    assert ("Authorization" in server.seen[0][2]) is sent


def test_webdav_the_default_entry_of_netrc_goes_to_no_server(tmp_path, serve, monkeypatch) -> None:
    (tmp_path / ".netrc").write_text(NETRC.partition("\n")[2])
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    server = serve(lambda request: head(request, 404, Content_Length="0"))
    webdav(server, tmp_path).read("x", 100)
    assert "Authorization" not in server.seen[0][2]


@pytest.mark.parametrize("answer", ["endless", "drip", "claims_a_terabyte"])
def test_s3_no_object_takes_long_or_much_memory(tmp_path, serve, monkeypatch, answer) -> None:
    server = serve(ANSWERS[answer])
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x" * 20)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    backend = Backend(address_of("s3://bucket/store", tmp_path), patience_seconds=2.0)
    with bounded(), suppress(RemoteUnusable):
        data = backend.read("x", 16 << 20)
        assert len(data or b"") <= 16 << 20
