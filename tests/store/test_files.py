"""Copies, links and removals, in each of the ways that a system or a file system may offer."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from forked import User, as_root, open_folder

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


posix = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")


def test_removing_what_is_missing_changes_nothing_beside_it(tmp_path: Path) -> None:
    parent = tmp_path / "out"
    parent.mkdir(mode=0o755)
    parent.chmod(0o755)
    files.remove_tree(parent / "missing")
    (parent / "file").touch()
    files.remove_tree(parent / "file")
    assert list(parent.iterdir()) == []
    assert stat.S_IMODE(parent.stat().st_mode) == 0o755


@posix
def test_removing_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    outside.chmod(0o555)
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "link").symlink_to(outside)
    (tmp_path / "tree" / "inner").chmod(0o500)
    (tmp_path / "link").symlink_to(outside)
    files.remove_tree(tmp_path / "tree")
    files.remove_tree(tmp_path / "link")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside"]
    assert ((outside / "file").read_text(), stat.S_IMODE(outside.stat().st_mode)) == ("precious", 0o555)


@posix
@as_root
def test_without_the_rights_of_root_a_closed_tree_is_removed_too() -> None:
    with open_folder() as place:
        tree = place / "tree"
        (tree / "closed" / "deep").mkdir(parents=True)
        (tree / "closed" / "deep" / "file").touch()
        for path in (place, tree, tree / "closed", tree / "closed" / "deep", tree / "closed" / "deep" / "file"):
            os.chown(path, 12345, 12345)
        (tree / "closed" / "deep").chmod(0o000)
        (tree / "closed").chmod(0o500)
        User(12345)(lambda: files.remove_tree(tree))
        assert not tree.exists()


@posix
def test_a_tree_deeper_than_the_stack_and_longer_than_a_path_is_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    chain(tree, "folder", 1200)
    files.remove_tree(tree)
    assert not tree.exists()


def chain(tree: Path, name: str, depth: int) -> None:
    """Folders in folders, and a file in the innermost one."""
    tree.mkdir()
    folder = os.open(tree, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)


@posix
def test_a_walk_follows_no_link_and_knows_no_depth(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    chain(tmp_path / "tree", "d", 1100)
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    names = [name for name, _ in files.walk_files(tmp_path / "tree")]
    assert names == ["d/" * 1100 + "file", "link"]
    files.remove_tree(tmp_path / "tree")


@posix
def test_a_copy_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("new")
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "target").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        files.clone_file(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "victim").read_text() == "precious"


def test_an_atomic_write_that_fails_leaves_the_old_content_and_no_leftover(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)  # with `without_posix` this is another module
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(path, b"new")
    assert (path.read_bytes(), [entry.name for entry in tmp_path.iterdir()]) == (b"old", ["file"])
