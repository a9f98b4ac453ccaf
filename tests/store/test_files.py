"""Copies, links and removals, in each of the ways that a system or a file system may offer."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from onnxbuild.store import files
from onnxbuild.store.content import Content, DamagedBlob, File

CONTENT = b"spam" * 70_001


@pytest.fixture(params=["all", "no clones", "no kernel copies", "kernel copies that fail"])
def ways(request, monkeypatch) -> None:
    if request.param != "all":
        monkeypatch.setattr(files, "fcntl", None)
    if request.param == "no kernel copies":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    if request.param == "kernel copies that fail":
        monkeypatch.setattr(os, "copy_file_range", _copies_a_part_and_fails(), raising=False)


def _copies_a_part_and_fails():
    calls = []

    def copy(reader: int, writer: int, size: int) -> int:
        calls.append(size)
        if len(calls) > 1:
            raise OSError(18, "Invalid cross-device link")
        return os.write(writer, os.read(reader, 7))

    return copy


@pytest.mark.usefixtures("ways")
def test_a_copy_has_the_content(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(CONTENT)
    files.clone_file(source, target)
    assert target.read_bytes() == CONTENT
    assert not os.path.samefile(source, target)


def test_where_links_fail_a_copy_keeps_the_mode(tmp_path: Path, monkeypatch) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(31, "Too many links")

    source, link, copy = tmp_path / "source", tmp_path / "link", tmp_path / "copy"
    source.write_bytes(CONTENT)
    source.chmod(0o444)
    files.link_or_clone(source, link)
    assert os.path.samefile(source, link)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    files.link_or_clone(source, copy)
    assert not os.path.samefile(source, copy)
    assert (copy.read_bytes(), stat.S_IMODE(copy.stat().st_mode)) == (CONTENT, 0o444)


def test_a_read_only_tree_is_removed(tmp_path: Path) -> None:
    inner = tmp_path / "tree" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").write_bytes(CONTENT)
    (inner / "file").chmod(0o444)
    inner.chmod(0o555)
    files.remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    files.remove_tree(tmp_path / "tree")


def test_a_damaged_blob_is_replaced_and_removed_although_it_is_read_only(tmp_path: Path) -> None:
    content = Content(tmp_path / "store")
    fresh = tmp_path / "fresh"
    for _ in range(2):
        fresh.mkdir(exist_ok=True)
        (fresh / "model.onnx").write_bytes(CONTENT)
        (file,) = content.ingest(fresh).files
        content.verify(file)
        blob = content.path(file.digest)
        blob.chmod(0o644)
        blob.write_bytes(CONTENT[::-1])
        blob.chmod(0o444)
    with pytest.raises(DamagedBlob):
        content.verify(File("model.onnx", file.digest, file.size))
    assert not blob.exists()
