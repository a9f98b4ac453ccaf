"""Two machines and a folder that both reach: what is fetched, what is written, and what is rejected."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from sharing import Machine, variant
from toys import InlineRunner, cat, step

from onnxbuild.store.remote.address import address_of

WORLD = (step("a", text="spam"), step("b", "count", of="a"), step("c", of=("a", "b"), text="eggs"))


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


def machine(tmp_path: Path, name: str, shared: Path, **more) -> Machine:
    return Machine(tmp_path / name, f"file://{shared}", InlineRunner(), **more)


def test_the_second_machine_builds_nothing(tmp_path, shared) -> None:
    first, second = machine(tmp_path, "one", shared), machine(tmp_path, "two", shared)
    assert first(*WORLD) == {"a": "built", "b": "built", "c": "built"}
    assert first.shared.results == 3
    assert second(*WORLD) == {"a": "hit", "b": "hit", "c": "hit"}
    assert not second.runner.ran
    assert second.shared.results == 0
    assert [path.name for path in second.blobs()] == [path.name for path in first.blobs()]
    assert first.warnings == second.warnings == []


def test_what_was_fetched_needs_the_remote_store_no_more(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared)(*WORLD)
    second = machine(tmp_path, "two", shared)
    second(*WORLD)
    second.url = "file:///nowhere/at/all"
    assert second(*WORLD) == {"a": "hit", "b": "hit", "c": "hit"}


def test_a_changed_param_takes_from_the_remote_store_what_still_fits(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared)(*WORLD)
    second = machine(tmp_path, "two", shared)
    assert second(WORLD[0], WORLD[1], step("c", of=("a", "b"), text="ham")) == {"a": "hit", "b": "hit", "c": "built"}
    assert second.shared.results == 1


def test_a_plan_asks_for_the_trace_and_fetches_no_content(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared)(*WORLD)
    second = machine(tmp_path, "two", shared)
    assert second.plan(*WORLD) == {"a": "hit", "b": "hit", "c": "hit"}
    assert second.blobs() == []


def test_what_is_there_is_not_written_again(tmp_path, shared) -> None:
    first = machine(tmp_path, "one", shared)
    first(*WORLD)
    before = {path: path.stat().st_mtime_ns for path in shared.rglob("*") if path.is_file()}
    first.events(*WORLD, again=True)
    assert (first.shared.results, first.shared.bytes) == (3, 0)
    assert {path: path.stat().st_mtime_ns for path in shared.rglob("*") if path.is_file()} == before


def test_a_blob_that_was_changed_is_one_warning_and_a_local_build_and_is_repaired(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared)(*WORLD)
    blob = shared_blob(shared, b"spam")
    blob.chmod(0o644)
    blob.write_bytes(b"SPAM")
    second = machine(tmp_path, "two", shared)
    assert second(*WORLD) == {"a": "built", "b": "hit", "c": "hit"}
    assert second.warnings == [
        f"the remote store file://{shared} {damaged(shared, blob)}: its content does not match its name"
    ]
    assert blob.read_bytes() == b"spam"
    third = machine(tmp_path, "three", shared)
    assert set(third(*WORLD).values()) == {"hit"}
    assert third.warnings == []


@pytest.mark.parametrize("cut", [0, 2])
def test_a_partial_blob_is_never_kept(tmp_path, shared, cut) -> None:
    machine(tmp_path, "one", shared, readonly=False)(*WORLD)
    blob = shared_blob(shared, b"spam")
    blob.chmod(0o644)
    blob.write_bytes(b"spam"[:cut])
    second = machine(tmp_path, "two", shared, readonly=True)
    assert second(*WORLD)["a"] == "built"
    assert second.warnings == [f"the remote store file://{shared} {damaged(shared, blob)}: it is missing or cut short"]
    assert blob.read_bytes() == b"spam"[:cut]
    assert second(*WORLD) == {"a": "hit", "b": "hit", "c": "hit"}


def damaged(shared: Path, blob: Path) -> str:
    return f"contains a damaged object: {blob.relative_to(shared)}"


def shared_blob(shared: Path, content: bytes) -> Path:
    return next(path for path in (shared / "blobs").rglob("*/*") if path.read_bytes() == content)


def forge(shared: Path, change) -> None:
    """Change every trace of the remote store."""
    for path in (shared / "traces").rglob("*.json"):
        parcel = json.loads(path.read_bytes())
        change(parcel)
        path.write_text(json.dumps(parcel))


def escape(parcel) -> None:
    for files in parcel["trees"].values():
        files[0]["name"] = "../../escaped"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda parcel: parcel["trace"]["parts"]["params"].update(text="other"), "it is the trace of another key"),
        (lambda parcel: parcel.update(layout=9), "it has layout 9, expected 1"),
        (lambda parcel: parcel["trace"]["outputs"].update(out="0" * 64), "its outputs and its trees differ"),
        (escape, "a tree does not match its name"),
    ],
)
def test_a_forged_trace_is_not_believed(tmp_path, shared, change, what) -> None:
    world = (step("a", text="spam"),)
    machine(tmp_path, "one", shared)(*world)
    forge(shared, change)
    second = machine(tmp_path, "two", shared)
    assert second(*world) == {"a": "built"}
    assert [warning.split(": ")[2] for warning in second.warnings] == [what]
    assert set(machine(tmp_path, "three", shared)(*world).values()) == {"hit"}  # it was written again


def test_a_name_that_leads_out_of_the_folder_is_refused_even_in_a_tree_with_the_right_digest(tmp_path, shared) -> None:
    from onnxbuild.digest import digest_value

    def consistent(parcel) -> None:
        escape(parcel)
        files = next(iter(parcel["trees"].values()))
        digest = digest_value([(one["name"], one["digest"], one["size"]) for one in files])
        parcel["trees"] = {digest: files}
        parcel["trace"]["outputs"] = {"out": digest}

    world = (step("a", text="spam"),)
    machine(tmp_path, "one", shared)(*world)
    forge(shared, consistent)
    second = machine(tmp_path, "two", shared)
    assert second(*world) == {"a": "built"}
    assert "a tree does not match its name" in second.warnings[0]


def test_readonly_takes_and_writes_nothing(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared)(WORLD[0])
    before = sorted(shared.rglob("*"))
    second = machine(tmp_path, "two", shared, readonly=True)
    assert second(*WORLD) == {"a": "hit", "b": "built", "c": "built"}
    assert second.shared is None
    assert sorted(shared.rglob("*")) == before


def test_no_partial_object_is_visible_after_an_upload_that_failed(tmp_path, shared, monkeypatch) -> None:
    from fsspec.implementations.local import LocalFileSystem

    def torn(self, path1, path2, **_):
        Path(path2).write_bytes(Path(path1).read_bytes()[:2])
        raise OSError(5, "Input/output error")

    first = machine(tmp_path, "one", shared)
    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "put_file", torn)
        assert set(first(*WORLD).values()) == {"built"}
    assert [path for path in shared.rglob("*") if path.is_file()] == []
    assert first.warnings == [f"the remote store file://{shared} cannot be written: [Errno 5] Input/output error"]
    assert not first.shared.complete
    assert set(first(*WORLD).values()) == {"hit"}
    assert first.shared.results == 3


def test_an_unreachable_remote_store_is_one_warning(tmp_path) -> None:
    refused = errno.ECONNREFUSED
    alone = Machine(tmp_path / "one", "webdav://127.0.0.1:9/store", InlineRunner(), patience=2.0)
    assert alone(*WORLD) == {"a": "built", "b": "built", "c": "built"}
    assert alone.warnings == [
        f"the remote store webdav://127.0.0.1:9/store cannot be used: [Errno {refused}] {os.strerror(refused)}"
    ]


def test_an_unknown_scheme_is_one_warning(tmp_path) -> None:
    alone = Machine(tmp_path / "one", "frob://bucket/store", InlineRunner())
    assert alone(*WORLD) == {"a": "built", "b": "built", "c": "built"}
    why = "fsspec knows no protocol `frob`; use S3 (`s3://`), WebDAV (`webdavs://`) or a folder"
    assert alone.warnings == [f"the remote store frob://bucket/store cannot be used: {why}"]


def test_secrets_are_shown_nowhere(tmp_path) -> None:
    address = address_of("webdavs://me:hush%40@example.org/store?token=1", tmp_path)
    assert address.shown == "webdavs://example.org/store"
    assert address.secrets == ("me:hush%40", "me:hush@", "hush%40", "token=1", "hush@")


def test_a_plain_path_is_a_folder(tmp_path) -> None:
    assert address_of("../shared", tmp_path / "m").url == f"file://{tmp_path}/m/../shared"


def test_only_what_its_checks_have_passed_is_shared(tmp_path, shared) -> None:
    world = (
        step("base", text="x"), step("good", of="base", text="1"), step("bad", of="base", text="2"),
        step("good:check", of="good"), step("bad:check", of="bad", fail=True), step("bad:measure", of="bad"),
        step("good:measure", of="good"), step("loose", text="y"),
    )  # fmt: skip
    variants = (
        variant("m/good", "base", "good", checks=("good:check",), measures=("good:measure",)),
        variant("m/bad", "base", "bad", checks=("bad:check",), measures=("bad:measure",)),
    )
    first = machine(tmp_path, "one", shared)
    first.variants = variants
    first(*world)
    second = machine(tmp_path, "two", shared)
    second.variants = variants
    assert second(*world) == {
        "base": "hit", "good": "hit", "bad": "built", "good:check": "hit", "bad:check": "failed",
        "bad:measure": "built", "good:measure": "hit", "loose": "built",
    }  # fmt: skip


def test_an_action_without_a_check_is_shared_when_nothing_failed(tmp_path, shared) -> None:
    first = machine(tmp_path, "one", shared)
    first(step("a", text="1"), step("b", fail=True))
    assert first.shared.results == 0
    first(step("a", text="1"), step("b"))
    assert first.shared.results == 2


def test_a_damaged_local_file_is_repaired_from_the_remote_store(tmp_path, shared) -> None:
    first = machine(tmp_path, "one", shared)
    first(*WORLD)
    first.runner.ran.clear()
    for blob in first.blobs():
        blob.unlink()
    assert set(first(*WORLD).values()) == {"hit"}
    assert not first.runner.ran


def test_several_megabytes_arrive_in_parts(tmp_path, shared) -> None:
    def large(params, inputs, outputs, tell):
        for number in range(3):
            (outputs["out"] / f"weights{number}").write_bytes(bytes([number]) * (20 << 20))
        return cat(params, inputs, outputs, tell)

    Machine(tmp_path / "one", f"file://{shared}", InlineRunner({"cat": large}))(step("a"))
    second = machine(tmp_path, "two", shared)
    told = [event for event in second.events(step("a")) if event.__class__.__name__ == "ActionProgress"]
    assert second.warnings == []
    assert max(event.done for event in told) == told[0].total == 62.9
    assert max(path.stat().st_size for path in second.blobs()) == 20 << 20
