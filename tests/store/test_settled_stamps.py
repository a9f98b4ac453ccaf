"""Signatures on file systems that store whole seconds, under clocks that differ, and of read-only images."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onnxbuild.store import files, outside_files
from onnxbuild.store.files import granule_ns, may_be_exchanged, settled_signature
from onnxbuild.store.store import Store

S = 1_000_000_000


class Clock:
    """A clock that only sleeping moves, and a file whose stamps are given."""

    def __init__(self, monkeypatch, *stamps, now):
        self.now, self.stamps, self.slept = now, list(stamps), []
        monkeypatch.setattr(files.time, "time_ns", lambda: self.now)
        monkeypatch.setattr(files.time, "sleep", self.sleep)
        monkeypatch.setattr(files.os, "stat", lambda _path: self.status())

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += round(seconds * S)

    def status(self):
        stamp = self.stamps.pop(0) if len(self.stamps) > 1 else self.stamps[0]
        return type("Status", (), {"st_size": 1, "st_mtime_ns": stamp, "st_ctime_ns": stamp, "st_ino": 7})


@pytest.mark.parametrize(("age", "waits"), [(0, 2.02), (0.5, 1.52), (2, 0.02), (2.02, 0), (100, 0)])
def test_a_stamp_of_whole_seconds_settles_after_two_seconds(monkeypatch, age, waits):
    clock = Clock(monkeypatch, 1000 * S, now=1000 * S + int(age * S))
    assert settled_signature("file") == (1, 1000 * S, 1000 * S, 7)
    assert sum(clock.slept) == pytest.approx(waits)


@pytest.mark.parametrize(("age", "waits"), [(0, 0.02), (0.015, 0.005), (0.02, 0), (1, 0)])
def test_a_finer_stamp_settles_after_a_tick(monkeypatch, age, waits):
    clock = Clock(monkeypatch, 1000 * S + 5, now=1000 * S + 5 + int(age * S))
    settled_signature("file")
    assert sum(clock.slept) == pytest.approx(waits)


def test_a_change_during_the_wait_is_waited_for_too(monkeypatch):
    clock = Clock(monkeypatch, 1000 * S + 5, 1000 * S + 10**7, now=1000 * S + 5)
    assert settled_signature("file")[1] == 1000 * S + 10**7
    assert len(clock.slept) == 2


def test_a_stamp_of_a_clock_that_is_ahead_is_waited_for_once(monkeypatch):
    clock = Clock(monkeypatch, 5000 * S + 5, now=1000 * S)
    assert settled_signature("file")[1] == 5000 * S + 5
    assert clock.slept == [0.02]


def test_a_file_that_changes_all_the_time_is_an_error(monkeypatch):
    clock = Clock(monkeypatch, *(1000 * S + 5 + step * 10**7 for step in range(1000)), now=1000 * S)
    with pytest.raises(OSError, match="changes all the time"):
        settled_signature("file")
    assert sum(clock.slept) < 5


def test_how_long_a_stamp_may_lie_before_its_change():
    assert granule_ns(7 * S) == 2_020_000_000
    assert granule_ns(7 * S + 1) == 20_000_000


@pytest.mark.parametrize(("stamp", "readonly", "expected"), [
    (7 * S, True, True), (0, True, True), (7 * S + 1, True, False), (7 * S, False, False),
])  # fmt: skip
def test_which_files_may_be_exchanged(monkeypatch, stamp, readonly, expected):
    monkeypatch.setattr(files.os, "ST_RDONLY", 1, raising=False)
    monkeypatch.setattr(files.os, "statvfs", lambda _path: type("M", (), {"f_flag": 4096 | readonly}), raising=False)
    assert may_be_exchanged("file", (1, 0, stamp, 7)) is expected


def test_systems_without_statvfs_have_no_such_images(monkeypatch):
    monkeypatch.delattr(files.os, "statvfs", raising=False)
    assert not may_be_exchanged("file", (1, 0, 7 * S, 7))


def test_the_digest_of_a_file_that_may_be_exchanged_is_not_remembered(tmp_path, monkeypatch):
    """The second image has the same file with the same size, times and inode."""
    (tmp_path / "file").write_text("one")
    with Store(tmp_path / "store") as store:
        one = store.digest_files(str(tmp_path), ("file",))
        monkeypatch.setattr(outside_files, "may_be_exchanged", lambda _path, _stamp: True)
        monkeypatch.setattr(outside_files, "signature", lambda _status: (3, 7 * S, 7 * S, 1))
        monkeypatch.setattr(outside_files, "settled_signature", lambda _path: (3, 7 * S, 7 * S, 1))
        assert store.digest_files(str(tmp_path), ("file",)) == one
        (tmp_path / "file").write_text("two")
        assert store.digest_files(str(tmp_path), ("file",)) != one


def mounted(image, place, *options):
    done = subprocess.run(["mount", "-o", ",".join(("loop", *options)), image, place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no right to mount an image")


def ext_image(path, folder, *, inode_bytes):
    command = ["mke2fs", "-q", "-t", "ext2", "-I", str(inode_bytes), "-d", str(folder), str(path), "2m"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("mke2fs is not installed")


@pytest.mark.skipif(sys.platform != "linux", reason="mounts an image with the command of Linux")
def test_an_edit_in_the_same_second_on_a_real_file_system_of_whole_seconds(tmp_path):
    """ext2 with inodes of 128 bytes, as ext3 had them, has no room for fractions of seconds."""
    folder, place = tmp_path / "folder", tmp_path / "place"
    folder.mkdir()
    place.mkdir()
    ext_image(tmp_path / "image", folder, inode_bytes=128)
    mounted(tmp_path / "image", place)
    try:
        (place / "file").write_text("one")
        assert (place / "file").stat().st_ctime_ns % S == 0
        with Store(tmp_path / "store") as store:
            one = store.digest_files(str(place), ("file",))
            (place / "file").write_text("two")  # the same size, inode and, without the wait, the same second
            assert store.digest_files(str(place), ("file",)) != one
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.skipif(not hasattr(files.os, "statvfs"), reason="the system does not say what is mounted read-only")
@pytest.mark.skipif(sys.platform != "linux", reason="mounts an image with the command of Linux")
def test_a_real_image_with_clamped_times_is_read_again_when_it_was_exchanged(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    trees, stamps = [], []
    with Store(tmp_path / "store") as store:
        for content in ("one", "two"):
            folder = tmp_path / content
            folder.mkdir()
            (folder / "file").write_text(content)
            os.utime(folder / "file", (1000, 1000))
            image = tmp_path / f"{content}.image"
            ext_image(image, folder, inode_bytes=128)
            for field in ("atime", "ctime", "mtime", "crtime"):
                subprocess.run(
                    ["debugfs", "-w", "-R", f"set_inode_field file {field} @1000", image],
                    check=True,
                    capture_output=True,
                )
            mounted(image, place, "ro")
            try:
                stamps.append(files.signature(os.stat(place / "file")))
                trees.append(store.digest_files(str(place), ("file",)))
            finally:
                subprocess.run(["umount", place], check=True)
    assert stamps[0] == stamps[1], "the images differ in content alone"
    assert trees[0] != trees[1]


def test_a_real_file_is_waited_for(tmp_path):
    path = Path(tmp_path / "file")
    path.write_text("text")
    settled_signature(path)
    assert time.time_ns() - path.stat().st_ctime_ns >= 20_000_000
