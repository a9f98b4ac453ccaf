"""Files that somebody else may have written are opened without following a link, waiting or filling the memory."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from onnxbuild.regular_files import NotRegular, read_regular, write_named

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
def test_a_named_file_is_written_and_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept", encoding="utf-8")
    for name, target in (("link", "precious"), ("dangling", "new")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(NotRegular, match="is a symbolic link"):
            write_named(tmp_path / name, "text")
    write_named(tmp_path / "plain", "a longer text")
    write_named(tmp_path / "plain", "täxt")
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir() if not path.is_symlink()}
    assert written == {"precious": "kept", "plain": "täxt"}


@_POSIX
def test_the_links_of_the_system_are_followed(capfd: pytest.CaptureFixture[str]) -> None:
    write_named("/dev/stdout", "shown")
    assert capfd.readouterr().out == "shown"
