"""Files outside the store: a digest is remembered only while no other content can have the same stamps."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from onnxbuild.digest import digest_bytes
from onnxbuild.store import files, outside_files
from onnxbuild.store.files import may_be_exchanged, settled_signature, signature
from onnxbuild.store.outside_files import Patience, digest_outside_files
from onnxbuild.store.store import Store

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND + 400_000_000  # 0.4 s after a full second


class Disk:
    """One file on a file system whose stamps and clock are made up. Sleeping moves the clock."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, grain_ns: int) -> None:
        self.path, self.grain, self.now, self.readonly = path, grain_ns, NOW, False
        self.slept, self.ahead = 0.0, 0
        self.on_sleep = lambda: None
        real = files.os.stat
        monkeypatch.setattr(files.time, "time_ns", lambda: self.now)
        monkeypatch.setattr(files.time, "sleep", self._sleep)
        # With `without_posix` this is another module than `os` here.
        monkeypatch.setattr(files.os, "stat", lambda place, **more: self._stamped(real(place, **more), place))
        if hasattr(files.os, "statvfs"):
            monkeypatch.setattr(files.os, "statvfs", self._statvfs)
        self.write("old")

    def write(self, text: str, *, at: int | None = None) -> None:
        """Write in place: size and inode stay the same."""
        self.path.write_text(text)
        self.changed = (self.now + self.ahead if at is None else at) // self.grain * self.grain

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += round(seconds * SECOND)
        self.on_sleep()

    def _stamped(self, status: os.stat_result, place: object) -> object:
        if str(place) != str(self.path):
            return status
        return SimpleNamespace(
            st_mode=status.st_mode, st_size=status.st_size, st_ino=status.st_ino, st_mtime_ns=self.changed,
            st_ctime_ns=self.changed,
        )  # fmt: skip

    def _statvfs(self, path: object) -> object:
        assert str(path) == str(self.path)
        return SimpleNamespace(f_flag=os.ST_RDONLY if self.readonly else 0)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def digest(place: Path, store: Store) -> str:
    return digest_outside_files(str(place.parent), [place.name], store.traces, remember=True).files[0].digest


@pytest.mark.parametrize("grain", [1, 1000, SECOND, 2 * SECOND], ids=["1 ns", "1 us", "1 s", "2 s"])
def test_an_edit_right_after_the_reading_is_seen_whatever_the_grain_of_time_stamps(
    place: Path, tmp_path: Path, monkeypatch, grain: int
) -> None:
    disk = Disk(place, monkeypatch, grain)
    with Store(tmp_path / "store") as store:
        assert digest(place, store) == digest_bytes(b"old")
        disk.write("new")
        assert digest(place, store) == digest_bytes(b"new")
        assert digest(place, store) == digest_bytes(b"new")
    assert disk.slept <= 2 * (max(grain, 20_000_000) / SECOND + 2)


@pytest.mark.parametrize(("grain", "wait"), [(1, 0.02), (SECOND, 1.62), (2 * SECOND, 1.62)])
def test_a_signature_is_taken_once_the_next_change_would_have_another_stamp(
    place: Path, monkeypatch, grain: int, wait: float
) -> None:
    disk = Disk(place, monkeypatch, grain)
    assert settled_signature(place) == signature(files.os.stat(place))
    assert disk.slept == pytest.approx(wait)
    before = disk.slept
    settled_signature(place)
    assert disk.slept == before


def test_an_edit_while_it_is_waited_begins_the_wait_anew(place: Path, monkeypatch) -> None:
    disk = Disk(place, monkeypatch, SECOND)
    edits = ["new"]
    disk.on_sleep = lambda: disk.write(edits.pop()) if edits else None
    assert settled_signature(place) == signature(files.os.stat(place))
    assert disk.now >= disk.changed + 2 * SECOND


@pytest.mark.parametrize(("grain", "wait"), [(1, 0.02), (SECOND, 2.02)])
def test_a_stamp_in_the_future_is_believed_after_a_whole_wait(
    place: Path, tmp_path: Path, monkeypatch, grain: int, wait: float
) -> None:
    """The clock of a server is ahead, but it goes on, too: what changes after the wait has another stamp."""
    disk = Disk(place, monkeypatch, grain)
    disk.ahead = 3600 * SECOND
    disk.write("old")
    assert settled_signature(place) == signature(files.os.stat(place))
    assert disk.slept == pytest.approx(wait)
    with Store(tmp_path / "store") as store:
        assert digest(place, store) == digest_bytes(b"old")
        disk.write("new")
        assert digest(place, store) == digest_bytes(b"new")


def test_a_file_that_changes_all_the_time_is_not_waited_for_without_end(place: Path, monkeypatch) -> None:
    disk = Disk(place, monkeypatch, 1)
    disk.on_sleep = lambda: disk.write("new")
    with pytest.raises(OSError, match="changes all the time"):
        settled_signature(place)


@pytest.mark.skipif(not hasattr(files.os, "statvfs"), reason="the system does not say what is read-only")
def test_the_fixed_times_of_an_image_say_nothing(place: Path, tmp_path: Path, monkeypatch) -> None:
    disk = Disk(place, monkeypatch, SECOND)
    disk.readonly = True
    epoch = 315_532_800 * SECOND
    disk.write("old", at=epoch)
    assert may_be_exchanged(place, signature(files.os.stat(place)))
    with Store(tmp_path / "store") as store:
        # An earlier version believed the times.
        store.traces.remember({str(place): (signature(files.os.stat(place)), digest_bytes(b"old"))})
        disk.write("new", at=epoch)  # as if another image were mounted
        assert digest(place, store) == digest_bytes(b"new")
        disk.write("old", at=epoch)
        assert digest(place, store) == digest_bytes(b"old")
        disk.readonly = False
        assert not may_be_exchanged(place, signature(files.os.stat(place)))


def test_a_read_only_disk_with_real_times_is_believed(place: Path, monkeypatch) -> None:
    disk = Disk(place, monkeypatch, 1)
    disk.readonly = True
    assert not may_be_exchanged(place, signature(files.os.stat(place)))


def test_a_file_is_read_once_and_again_only_after_a_change(place: Path, tmp_path: Path, monkeypatch) -> None:
    reads = []
    real = outside_files.digest_file
    monkeypatch.setattr(
        outside_files, "digest_file", lambda path, *more, **named: reads.append(path.name) or real(path, *more, **named)
    )
    (tmp_path / "other").write_text("other")
    place.write_text("old")
    names = [place.name, "other"]
    with Store(tmp_path / "store") as store:
        digest_outside_files(str(tmp_path), names, store.traces, remember=False)
        digest_outside_files(str(tmp_path), names, store.traces, remember=True)
        first = digest_outside_files(str(tmp_path), names, store.traces, remember=True)
        assert reads == [*names, *names]
        place.write_text("new")
        second = digest_outside_files(str(tmp_path), names, store.traces, remember=True)
        assert reads[4:] == [place.name]
    assert [file.digest for file in first.files] == [digest_bytes(b"old"), digest_bytes(b"other")]
    assert [(file.name, file.size) for file in second.files] == [(place.name, 3), ("other", 5)]


def test_a_file_that_changes_while_it_is_read_is_not_remembered(place: Path, tmp_path: Path, monkeypatch) -> None:
    real = outside_files.digest_file

    def read_and_change(path: Path, size: int, **_more: object):
        digest = real(path, size)
        path.write_text("longer than before")
        return digest

    place.write_text("old")
    with Store(tmp_path / "store") as store:
        monkeypatch.setattr(outside_files, "digest_file", read_and_change)
        digest(place, store)
        assert store.traces.recall([str(place)]) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFO in a folder")
def test_a_fifo_and_a_device_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with Store(tmp_path / "store") as store:
        for name in ("fifo", "zero"):
            with pytest.raises(OSError, match="not a regular file"):
                digest_outside_files(str(tmp_path), [name], store.traces, remember=True)


# -- a file whose reading takes long ----------------------------------------------------------------------------------


class Clock:
    """A clock that goes on by `step` seconds at each look at it."""

    def __init__(self, step: float) -> None:
        self.step, self.now = step, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def _read_with(tmp_path: Path, step: float, *sizes: int) -> list[str]:
    """What is said while files of these sizes are read, in pieces of 16 MiB."""
    names = [f"file{number}" for number in range(len(sizes))]
    for name, size in zip(names, sizes, strict=True):
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)  # a hole takes no space
    said: list[str] = []
    with Store(tmp_path / "store") as store:
        digest_outside_files(
            str(tmp_path), names, store.traces, remember=False, patience=Patience(said.append, Clock(step))
        )
    return [one.replace(f"{tmp_path}/", "") for one in said]


PIECE = 16 << 20


@pytest.mark.parametrize(("step", "sizes", "said"), [
    (0.0, (4 * PIECE,), []),
    (0.9, (2 * PIECE,), []),
    (1.0, (2 * PIECE,), ["reading file0 (33.6 MB)"]),
    (1.0, (6 * PIECE,), ["reading file0 (100.7 MB)"]),
    (0.5, (3 * PIECE, PIECE, 3 * PIECE), ["reading file1 (16.8 MB)"]),
    (1.0, (2 * PIECE, 2 * PIECE, PIECE), ["reading file0 (33.6 MB)", "reading file1 (33.6 MB)"]),
    (9.0, (100, 100), []),
], ids=["at once", "just below", "at the limit", "only once", "together", "each", "small"])  # fmt: skip
def test_a_file_is_named_once_reading_has_taken_two_seconds(tmp_path: Path, step, sizes, said) -> None:  # type: ignore[no-untyped-def]
    assert _read_with(tmp_path, step, *sizes) == said


def test_the_size_of_a_large_file_is_told_in_gigabytes() -> None:
    said: list[str] = []
    patience = Patience(said.append, Clock(3.0))
    patience.begin("model.onnx", 50 << 30)
    patience.going_on()
    assert said == ["reading model.onnx (53.7 GB)"]
