"""A scheme that fsspec does not know, or whose backend needs more than an address, is explained in one line."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import pytest

from onnxbuild.store.remote.address import address_of
from onnxbuild.store.remote.backend import Backend, _from_url
from onnxbuild.store.remote.remote_errors import RemoteUnusable

fsspec = pytest.importorskip("fsspec")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nosuch://host/x", "fsspec knows no protocol `nosuch`; use S3 (`s3://`), WebDAV (`webdavs://`) or a folder"),
        (
            "github://host/x",
            (
                "an address is not enough for `github:` (missing a required argument: 'org');"
                " use S3 (`s3://`), WebDAV (`webdavs://`) or a folder"
            ),
        ),
    ],
)
def test_what_no_address_can_open(url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    with pytest.raises(RemoteUnusable) as raised:
        Backend(address_of(url, Path())).size("a")
    gc.collect()
    assert (str(raised.value), ignored) == (words, [])


def test_an_address_says_which_server_is_meant() -> None:
    address = address_of("ftp://me:secret@host:2121/folder", Path())
    options = _from_url(fsspec.get_filesystem_class("ftp"), address)
    assert options == {"host": "host", "port": 2121, "username": "me", "password": "secret"}
