"""Files that somebody else may have written are opened without following a link, waiting or filling the memory."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from onnxbuild.regular_files import NotRegular, descriptor_of, read_regular

_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs and devices in folders")


def test_a_regular_file_is_read_up_to_its_last_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 7)
    assert read_regular(tmp_path / "a", 7) == b"x" * 7


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "a", "wb") as file:
        file.truncate(3 << 30)  # sparse
    with pytest.raises(NotRegular, match="larger than 6 bytes"):
        read_regular(tmp_path / "a", 6)


@_POSIX
def test_a_file_without_a_size_is_read_no_further_than_the_limit() -> None:
    with pytest.raises(NotRegular, match="larger than 2 bytes"):
        read_regular("/proc/self/environ", 2)


def test_a_missing_file_is_reported_as_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "a", 1)


@_POSIX
@pytest.mark.parametrize(
    ("kind", "words"),
    [("link", "symbolic link"), ("fifo", "a FIFO"), ("folder", "a folder"), ("socket", "a socket|No such device")],
)
def test_whatever_is_not_a_regular_file_is_refused(
    kind: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    (tmp_path / "target").write_bytes(b"secret")
    with socket.socket(socket.AF_UNIX) as listener:
        make = {
            "link": lambda: os.symlink("target", "a"),
            "fifo": lambda: os.mkfifo("a"),
            "folder": lambda: os.mkdir("a"),
            "socket": lambda: listener.bind("a"),
        }
        make[kind]()
        with pytest.raises(OSError, match=words):
            read_regular("a", 100)


@_POSIX
def test_a_device_is_refused() -> None:
    with pytest.raises(NotRegular, match="a device"):
        read_regular("/dev/zero", 100)


@_POSIX
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_APPEND])
@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder"])
def test_with_any_flags_only_a_regular_file_is_opened(kind: str, flags: int, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"secret")
    place = tmp_path / "a"
    make = {
        "link": lambda: place.symlink_to("target"),
        "dangling": lambda: place.symlink_to("new"),
        "fifo": lambda: os.mkfifo(place),
        "folder": place.mkdir,
    }
    make[kind]()
    with pytest.raises(OSError):  # noqa: PT011 - each system has its own words for it
        descriptor_of(place, flags)
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "target").read_bytes() == b"secret"
