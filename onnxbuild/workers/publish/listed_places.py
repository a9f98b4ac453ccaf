"""Publishes to places that hold plain files: a folder, or a folder in a bucket. The list of digests goes last.

So whoever reads the list finds every file that it names, also while an upload is under way or after it was cut off.
A bucket tells no digests: before an upload changes a file there, the list says so, with zeros as its digest.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.publishing.bucket_files import WITHOUT_KEYS, BucketFiles
from onnxbuild.publishing.difference import Difference, RemoteFile, difference
from onnxbuild.publishing.uploaded_files import SUMS, UNDER_WAY, LocalFile, Upload, listed, sha256_of, sums_of
from onnxbuild.regular_files import is_behind_link
from onnxbuild.steps.publish import PublishParams


class Place(Protocol):
    """A place with plain files. `knows_digests`: whether it tells the content of files that no list names."""

    knows_digests: bool

    def is_elsewhere(self, name: str) -> bool:
        """Whether a file of this name would be outside the place, behind a link."""

    def read(self, name: str) -> bytes | None:
        """The content of a small file, None if it is missing."""

    def files(self, before: Mapping[str, str], upload: Upload) -> dict[str, RemoteFile]:
        """Those of the named files that are there."""

    def write(self, name: str, file: LocalFile) -> None:
        """Add or replace a file."""

    def remove(self, name: str) -> None:
        """Remove a file."""


def publish_listed(params: PublishParams, upload: Upload, tell: Tell) -> tuple[Facts, Difference]:
    """Upload what differs. Errors: CheckFailed OBE205, OBE207; AbsentError."""
    place: Place = _Folder(Path(params.folder)) if params.folder else _Bucket(params.s3)
    try:
        return {}, _published(place, params, upload, tell)
    except OSError as error:
        hint = "check the address and the access, and run it again: files that arrived are not sent again"
        message = f"{params.shown} cannot be written: {error.strerror or error}"
        raise CheckFailed("OBE207", message, notes=[("hint", hint)], transient=bool(params.s3)) from error
    except Exception as error:
        if not params.s3 or type(error).__name__ not in WITHOUT_KEYS:
            raise
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise CheckFailed("OBE200", f"there are no keys for {params.shown}", notes=[("hint", hint)]) from error


def _published(place: Place, params: PublishParams, upload: Upload, tell: Tell) -> Difference:
    sums = place.read(SUMS)
    before = None if sums is None else listed(sums)
    # A folder keeps no earlier versions, so a first publish replaces nothing there without being told to.
    known = {} if before is None and place.knows_digests else before
    changes = difference(upload, place.files(before or {}, upload), known)
    if changes.foreign and params.overwrite is not True:
        others = ", ".join(changes.foreign[:8])
        message = f"somebody has changed {others} in {params.shown} since the last publish"
        hint = "take the change into the package, or write `overwrite: true` in `publish:`"
        if before is None:
            message = f"{params.shown} has other files of these names, which no publish has written: {others}"
            hint = "name another folder, or write `overwrite: true` in `publish:`"
        raise CheckFailed("OBE205", message, notes=[("hint", hint)])
    _check_links(place, params, changes)
    names = sorted(changes.uploaded, key=lambda name: name == SUMS)
    if not place.knows_digests and (set(names) | set(changes.deleted)) - {SUMS}:
        mark = sums_of({**(before or {}), **dict.fromkeys((*changes.uploaded, *changes.deleted), UNDER_WAY)})
        place.write(SUMS, mark)
        names = [*(name for name in names if name != SUMS), SUMS]
    for number, name in enumerate(names):
        tell(f"writing {name}", number, len(names))
        place.write(name, upload.files[name])
    for name in changes.deleted:
        place.remove(name)
    return changes


def _check_links(place: Place, params: PublishParams, changes: Difference) -> None:
    outside = next((name for name in (*changes.uploaded, *changes.deleted) if place.is_elsewhere(name)), None)
    if outside is not None:
        message = f"{params.shown} has a link in place of a folder, and {outside} would be behind it"
        hint = "put a folder in place of the link, or publish to another folder"
        raise CheckFailed("OBE205", message, notes=[("hint", hint)])


class _Folder:
    """A folder of this machine. Each file is replaced at once."""

    knows_digests = True

    def __init__(self, root: Path) -> None:
        self._root = root

    def is_elsewhere(self, name: str) -> bool:
        return is_behind_link(self._root, name)

    def read(self, name: str) -> bytes | None:
        path = self._root / name
        return path.read_bytes() if path.is_file() else None

    def files(self, before: Mapping[str, str], upload: Upload) -> dict[str, RemoteFile]:
        paths = {name: self._root / name for name in {*before, *upload.files}}
        return {
            name: RemoteFile(path.stat().st_size, sha256_of(path)) for name, path in paths.items() if path.is_file()
        }

    def write(self, name: str, file: LocalFile) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, new = tempfile.mkstemp(dir=path.parent, prefix=".onnxbuild-")
        try:
            with os.fdopen(handle, "wb") as target:
                if file.content is None:
                    with Path(file.path).open("rb") as source:
                        shutil.copyfileobj(source, target)
                else:
                    target.write(file.content)
            os.chmod(new, 0o644)
            os.replace(new, path)
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)


class _Bucket(BucketFiles):
    """A folder in a bucket of S3."""

    knows_digests = False

    def is_elsewhere(self, name: str) -> bool:  # noqa: ARG002 - a bucket has no links
        return False

    def write(self, name: str, file: LocalFile) -> None:
        if file.content is None:
            self.system.put_file(file.path, f"{self.root}/{name}")
        else:
            self.system.pipe_file(f"{self.root}/{name}", file.content)

    def remove(self, name: str) -> None:
        self.system.rm_file(f"{self.root}/{name}")
