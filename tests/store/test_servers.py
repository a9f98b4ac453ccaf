"""The remote store on a real S3 server and a real WebDAV server, with the real clients; and what goes wrong there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import PASSWORD, USER, Proxy, Server
from sharing import Machine
from toys import InlineRunner, cat, step

pytestmark = pytest.mark.heavy

WORLD = (step("a", text="spam"), step("b", "count", of="a"), step("c", of=("a", "b"), text="eggs"))
BUILT = {"a": "built", "b": "built", "c": "built"}
HITS = {"a": "hit", "b": "hit", "c": "hit"}
URL = "s3://bucket/onnxbuild"


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server("s3", tmp_path / "s3", "--vfs-cache-mode", "off")
    (tmp_path / "s3" / "bucket").mkdir(parents=True)
    server.start()
    point_at(server.port, monkeypatch)
    yield server
    server.kill()


def point_at(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user sets for their own S3 server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


def machine(tmp_path: Path, name: str, url: str = URL, runner: InlineRunner | None = None, **more) -> Machine:
    return Machine(tmp_path / name, url, runner or InlineRunner(), **more)


def large(params, inputs, outputs, tell):
    """Writes 24 MB in addition to its text: several parts."""
    if params.text == "spam":
        (outputs["out"] / "weights").write_text(os.urandom(12 << 20).hex())
    return cat(params, inputs, outputs, tell)


def objects(server: Server, kind: str) -> list[Path]:
    return sorted(path for path in server.folder.glob(f"**/{kind}/*/*") if path.is_file())


def test_s3_two_empty_stores_and_the_second_builds_nothing(tmp_path, s3) -> None:
    first = machine(tmp_path, "one", runner=InlineRunner({"cat": large}))
    second = machine(tmp_path, "two")
    assert first(*WORLD) == BUILT
    assert first.shared.complete
    assert (len(objects(s3, "traces")), len(objects(s3, "blobs"))) == (3, 4)
    assert second(*WORLD) == HITS
    assert not second.runner.ran
    assert [path.read_bytes() for path in second.blobs()] == [path.read_bytes() for path in first.blobs()]
    assert first.warnings == second.warnings == []


def test_s3_plan_asks_for_traces_alone(tmp_path, s3) -> None:
    machine(tmp_path, "one")(*WORLD)
    second = machine(tmp_path, "two")
    assert second.plan(*WORLD) == HITS
    assert second.blobs() == []


def test_s3_existing_objects_are_not_uploaded_again(tmp_path, s3) -> None:
    machine(tmp_path, "one")(*WORLD)
    before = {path: path.stat().st_mtime_ns for path in objects(s3, "*")}
    second = machine(tmp_path, "two")
    second(*WORLD)
    second.events(*WORLD, again=True)
    assert (second.shared.results, second.shared.bytes) == (3, 0)
    assert {path: path.stat().st_mtime_ns for path in objects(s3, "*")} == before


def test_s3_a_corrupt_object_is_one_warning_a_local_build_and_repaired(tmp_path, s3) -> None:
    machine(tmp_path, "one")(*WORLD)
    blob = next(path for path in objects(s3, "blobs") if path.read_bytes() == b"spam")
    blob.write_bytes(b"SPAM")
    second = machine(tmp_path, "two")
    assert second(*WORLD) == {"a": "built", "b": "hit", "c": "hit"}
    name = f"blobs/{blob.parent.name}/{blob.name}"
    what = "its content does not match its name"
    assert second.warnings == [f"the remote store {URL} contains a damaged object: {name}: {what}"]
    assert blob.read_bytes() == b"spam"


def test_s3_a_server_killed_in_the_middle_of_an_upload_leaves_no_trace_and_the_next_run_goes_on(
    tmp_path, monkeypatch
) -> None:
    server = Server("s3", tmp_path / "s3", "--bwlimit", "4M")
    (server.folder / "bucket").mkdir(parents=True)
    server.start()
    point_at(server.port, monkeypatch)
    first = machine(tmp_path, "one", runner=InlineRunner({"cat": large}), patience=2.0)
    killer = threading.Timer(3.0, server.kill)
    killer.start()
    assert first(*WORLD) == BUILT
    killer.join()
    assert server.process is None, "the server lived until the end: nothing was cut off"
    assert len(first.warnings) == 1
    assert first.warnings[0].startswith(f"the remote store {URL} cannot be written: ")
    assert not first.shared.complete
    named = {path.stem for path in objects(server, "traces")}
    assert len(named) < 3

    server.options = ()
    server.start()
    try:
        first.patience = 10.0
        assert first(*WORLD) == HITS
        assert first.shared.complete
        second = machine(tmp_path, "two")
        assert second(*WORLD) == HITS
        assert second.warnings == []
    finally:
        server.kill()


def test_s3_a_server_that_accepts_and_never_answers_costs_one_warning(tmp_path, s3, monkeypatch) -> None:
    proxy = Proxy(s3.port, allow=0)
    point_at(proxy.port, monkeypatch)
    alone = machine(tmp_path, "one", patience=1.0)
    began = time.monotonic()
    assert alone(*WORLD) == BUILT
    assert time.monotonic() - began < 8
    assert alone.warnings == [f"the remote store {URL} cannot be used: no answer within 1 seconds"]
    proxy.close()


def test_s3_a_server_that_stalls_in_the_middle_of_a_blob_costs_one_warning(tmp_path, s3, monkeypatch) -> None:
    machine(tmp_path, "one", runner=InlineRunner({"cat": large}))(*WORLD)
    proxy = Proxy(s3.port, allow=9 << 20)
    point_at(proxy.port, monkeypatch)
    monkeypatch.setattr("onnxbuild.store.remote.backend._SLOWEST_BYTES_PER_SECOND", 10_000_000)
    second = machine(tmp_path, "two", patience=1.0)
    assert second(*WORLD) == BUILT
    assert len(second.warnings) == 1
    assert second.warnings[0].startswith(f"the remote store {URL} cannot be used: ")
    assert not [path for path in second.blobs() if path.stat().st_size > 1 << 20]  # nothing partial was kept
    proxy.close()


def test_s3_access_denied_is_one_warning_without_secrets(tmp_path, s3, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    alone = machine(tmp_path, "one")
    assert alone(*WORLD) == BUILT
    assert len(alone.warnings) == 1
    assert alone.warnings[0].startswith(f"the remote store {URL} cannot be used: access denied (")
    assert "secret" not in alone.warnings[0]


def test_s3_without_credentials_is_one_warning(tmp_path, s3, monkeypatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    alone = machine(tmp_path, "one")
    assert alone(*WORLD) == BUILT
    assert alone.warnings == [f"the remote store {URL} cannot be used: Unable to locate credentials"]


def test_s3_a_bucket_that_does_not_exist_is_one_warning(tmp_path, s3) -> None:
    alone = machine(tmp_path, "one", "s3://no-such-bucket/store")
    assert alone(*WORLD) == BUILT
    why = "it does not exist (The specified bucket does not exist)"
    assert alone.warnings == [f"the remote store s3://no-such-bucket/store cannot be used: {why}"]
    assert not (s3.folder / "no-such-bucket").exists()


def test_s3_readonly_writes_nothing(tmp_path, s3) -> None:
    machine(tmp_path, "one")(WORLD[0])
    before = objects(s3, "*")
    second = machine(tmp_path, "two", readonly=True)
    assert second(*WORLD) == {"a": "hit", "b": "built", "c": "built"}
    assert objects(s3, "*") == before


def test_s3_no_server_is_one_warning(tmp_path, s3) -> None:
    s3.kill()
    alone = machine(tmp_path, "one")
    assert alone(*WORLD) == BUILT
    assert len(alone.warnings) == 1
    assert alone.warnings[0].startswith(f"the remote store {URL} cannot be used: Could not connect to the endpoint URL")


@pytest.fixture
def webdav(tmp_path: Path) -> Iterator[Server]:
    server = Server("webdav", tmp_path / "dav").start()
    yield server
    server.kill()


def test_webdav_two_empty_stores_and_the_second_builds_nothing(tmp_path, webdav) -> None:
    url = f"webdav://{USER}:{PASSWORD}@127.0.0.1:{webdav.port}/team/onnxbuild"
    first = machine(tmp_path, "one", url, InlineRunner({"cat": large}))
    second = machine(tmp_path, "two", url)
    assert first(*WORLD) == BUILT
    assert first.warnings == []
    assert (len(objects(webdav, "traces")), len(objects(webdav, "blobs"))) == (3, 4)
    assert not list(webdav.folder.rglob("*.part"))
    assert second(*WORLD) == HITS
    assert not second.runner.ran
    assert second.warnings == []


def test_webdav_a_wrong_password_is_one_warning_that_does_not_tell_it(tmp_path, webdav) -> None:
    alone = machine(tmp_path, "one", f"webdav://{USER}:wrong-password@127.0.0.1:{webdav.port}/onnxbuild")
    assert alone(*WORLD) == BUILT
    assert len(alone.warnings) == 1
    assert alone.warnings[0].startswith(f"the remote store webdav://127.0.0.1:{webdav.port}/onnxbuild cannot be ")
    assert "wrong-password" not in alone.warnings[0]
