"""Places with plain files and a list of their digests, for publishing there and for the comparison before it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from onnxbuild.publishing.difference import Difference, RemoteFile, difference
from onnxbuild.publishing.other_publication import other_publication
from onnxbuild.publishing.sha256_sums import sha256_of
from onnxbuild.publishing.uploaded_files import ACCOUNT, SUMS, Listing, Upload, listed


class PlainPlace(Protocol):
    """A folder, or a folder in a bucket."""

    def read(self, name: str) -> bytes | None:
        """The content of a small file, None if it is missing."""

    def files(self, names: Iterable[str]) -> dict[str, RemoteFile]:
        """Those of the named files that are there, with their digests."""


class FolderFiles:
    """A folder of this machine, whose files are all read."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes | None:
        """As in `PlainPlace`."""
        path = self.root / name
        return path.read_bytes() if path.is_file() else None

    def files(self, names: Iterable[str]) -> dict[str, RemoteFile]:
        """As in `PlainPlace`."""
        paths = ((name, self.root / name) for name in sorted(names))
        return {name: RemoteFile(path.stat().st_size, sha256_of(path)) for name, path in paths if path.is_file()}


def compared(place: PlainPlace, upload: Upload) -> tuple[Listing | None, Difference]:
    """What the last publish listed in a place, None if there was none; and the difference of an upload from it."""
    sums = place.read(SUMS)
    before = None if sums is None else listed(sums)
    changes = difference(upload, place.files({*(before or ()), *upload.files}), before)
    other = other_publication(place.read(ACCOUNT), upload) if ACCOUNT in changes.replaced else ""
    return before, replace(changes, other=other)
