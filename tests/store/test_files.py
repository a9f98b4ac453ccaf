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


def test_two_threads_that_write_in_the_same_moment_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(files.time, "monotonic_ns", lambda: 1)
    names = set()
    monkeypatch.setattr(files.Path, "replace", lambda self, _target: names.add(self.name))
    for _ in range(2):
        files.write_atomically(tmp_path / "file", b"content")
    assert len(names) == 2


# -- each way to copy, and when it is taken ---------------------------------------------------------------------------


class Clones:
    """An `fcntl` of a file system that clones; other calls are refused."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def ioctl(self, writer: int, request: int, reader: int) -> int:
        self.calls.append(request)
        os.write(writer, b"a clone of " + os.pread(reader, 4, 0))
        return 0


def test_what_the_file_system_has_cloned_is_not_copied_again(tmp_path: Path, monkeypatch) -> None:
    clones = Clones()
    monkeypatch.setattr(files, "fcntl", clones)
    (tmp_path / "source").write_bytes(CONTENT)
    files.clone_file(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"a clone of spam"
    assert clones.calls == [0x40049409]  # FICLONE


@pytest.mark.parametrize(("pieces", "copied"), [([7, 9, 10_000_000], True), ([3, 0], False)])
def test_the_kernel_may_copy_in_pieces_and_end_early(tmp_path: Path, monkeypatch, pieces, copied) -> None:
    """A source that becomes shorter meanwhile ends the copy: it must not be waited for."""
    asked = []

    def copy(reader: int, writer: int, size: int) -> int:
        asked.append(size)
        return os.write(writer, os.read(reader, min(size, pieces[len(asked) - 1])))

    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(files.os, "copy_file_range", copy, raising=False)
    monkeypatch.setattr(files.shutil, "copyfileobj", lambda *_: pytest.fail("the kernel has copied it"))
    (tmp_path / "source").write_bytes(CONTENT)
    files.clone_file(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == (CONTENT if copied else CONTENT[:3])
    size = len(CONTENT)
    assert asked == ([size, size - 7, size - 16] if copied else [size, size - 3])


# -- durability -------------------------------------------------------------------------------------------------------


def test_a_small_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch) -> None:
    path, synced = tmp_path / "file", []
    path.write_text("old")

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_size, path.read_text()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    files.write_atomically(path, b"content")
    assert synced == [(7, "old")]
    assert path.read_text() == "content"


@pytest.mark.parametrize("is_folder", [False, True])
def test_files_and_folders_are_flushed_and_closed(tmp_path: Path, monkeypatch, *, is_folder: bool) -> None:
    path, synced = tmp_path / "entry", []
    path.mkdir() if is_folder else path.touch()

    def fsync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, descriptor))
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        files.flush(path)
    assert synced[0][0] == path.stat().st_ino
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(synced[0][1])


# -- what Windows does otherwise: a file that is read-only is neither replaced nor removed nor flushed -----------------


@pytest.fixture
def windows(monkeypatch) -> list[tuple[str, object]]:
    """The platform is Windows; the calls that set a mode or open a file, by the name of the path."""
    calls: list[tuple[str, object]] = []
    chmod, chmod_path, opening = files.os.chmod, Path.chmod, files.os.open

    def noted(function, path, value, *more, **how):
        calls.append((Path(path).name, value))
        return function(path, value, *more, **how)

    monkeypatch.setattr(files.sys, "platform", "win32")
    monkeypatch.setattr(files.os, "chmod", lambda path, mode, **how: noted(chmod, path, mode, **how))
    monkeypatch.setattr(Path, "chmod", lambda path, mode, **how: noted(chmod_path, path, mode, **how))
    monkeypatch.setattr(files.os, "open", lambda path, flags, *more, **how: noted(opening, path, flags, *more, **how))
    return calls


@posix
def test_on_windows_a_file_is_made_writable_before_it_is_replaced_or_removed(tmp_path: Path, windows) -> None:
    for name in ("new", "old"):
        (tmp_path / name).write_text(name)
    files.replace_file(tmp_path / "new", tmp_path / "fresh")
    assert windows == []
    files.replace_file(tmp_path / "fresh", tmp_path / "old")
    assert ("old", 0o666) in windows
    assert (tmp_path / "old").read_text() == "new"
    windows.clear()
    files.remove_file(tmp_path / "old")
    files.remove_file(tmp_path / "old")
    assert ("old", 0o666) in windows
    assert not (tmp_path / "old").exists()


@posix
def test_elsewhere_no_mode_is_changed(tmp_path: Path, windows, monkeypatch) -> None:
    monkeypatch.setattr(files.sys, "platform", "linux")
    for name in ("new", "old"):
        (tmp_path / name).write_text(name)
    files.replace_file(tmp_path / "new", tmp_path / "old")
    files.remove_file(tmp_path / "old")
    files.remove_file(tmp_path / "old")
    assert windows == []


@posix
def test_windows_flushes_files_that_are_open_for_writing_and_no_folders(tmp_path: Path, windows, monkeypatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    windows.clear()
    for name in ("folder", "file"):
        files.flush(tmp_path / name)
    assert windows == [("file", os.O_RDWR)]
    monkeypatch.setattr(files.sys, "platform", "linux")
    files.flush(tmp_path / "file")
    assert windows[1:] == [("file", os.O_RDONLY)]


@posix
def test_a_tree_of_read_only_files_is_removed_on_windows(tmp_path: Path, windows, monkeypatch) -> None:
    """A removal that fails for them succeeds once they are writable."""
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    (tmp_path / "tree" / "inner" / "file").write_text("x")
    (tmp_path / "tree" / "inner" / "file").chmod(0o444)
    windows.clear()
    own = files.shutil.rmtree

    def rmtree(folder: str, **how: bool) -> None:
        assert how == {"ignore_errors": True}
        if ("file", 0o700) in windows:
            own(folder, **how)

    monkeypatch.setattr(files.shutil, "rmtree", rmtree)
    files.remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


@posix
def test_the_time_of_a_change_is_ctime_and_on_windows_mtime(monkeypatch) -> None:
    monkeypatch.setattr(files.sys, "platform", "linux")
    assert files.changed_ns((1, 2, 3, 4)) == 3
    monkeypatch.setattr(files.sys, "platform", "win32")
    assert files.changed_ns((1, 2, 3, 4)) == 2


# -- entries ----------------------------------------------------------------------------------------------------------


@posix
def test_what_is_a_folder_or_a_file_and_no_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "to folder").symlink_to("folder")
    (tmp_path / "to file").symlink_to("file")
    names = ("folder", "file", "to folder", "to file", "missing", "file/below")
    kinds = {name: (files.is_real_folder(tmp_path / name), files.is_real_file(tmp_path / name)) for name in names}
    assert kinds == {**dict.fromkeys(names, (False, False)), "folder": (True, False), "file": (False, True)}


def test_a_folder_that_is_missing_or_removed_meanwhile_has_no_entries(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").touch()
    assert files.entries_of(tmp_path / "folder") == [tmp_path / "folder" / "a"]
    assert files.entries_of(tmp_path / "folder" / "a") == []
    assert files.entries_of(tmp_path / "missing") == []
    monkeypatch.setattr(files, "is_real_folder", lambda _path: True)
    assert files.entries_of(tmp_path / "missing") == []


@posix
def test_the_mode_of_a_blob_that_is_linked_into_a_closed_tree_stays(tmp_path: Path, monkeypatch) -> None:
    blob = tmp_path / "blob"
    blob.touch()
    blob.chmod(0o444)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").hardlink_to(blob)
    removed, own = [], files.shutil.rmtree

    def rmtree(folder: str, *, ignore_errors: bool) -> None:  # the first one fails, as in a closed folder
        removed.append(folder)
        if len(removed) > 1:
            own(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(files.shutil, "rmtree", rmtree)
    files.remove_tree(tmp_path / "tree")
    assert (removed, (tmp_path / "tree").exists()) == ([tmp_path / "tree"] * 2, False)
    assert stat.S_IMODE(blob.stat().st_mode) == 0o444
