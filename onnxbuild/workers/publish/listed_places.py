"""Publishes to places that hold plain files: a folder, or a folder in a bucket. The list of digests goes last.

Before an upload changes anything there, the list gets the new digests beside those of before. So an upload that was
cut off leaves a list of everything that onnxbuild may have left there, and the next one, whatever it uploads, replaces
and removes all of it. A list with two digests for a file tells readers that an upload is under way or was cut off.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.publishing.bucket_files import WITHOUT_KEYS, BucketFiles
from onnxbuild.publishing.difference import Difference
from onnxbuild.publishing.plain_places import FolderFiles, PlainPlace, compared
from onnxbuild.publishing.uploaded_files import SUMS, Listing, LocalFile, Upload, sums_under_way
from onnxbuild.regular_files import is_behind_link
from onnxbuild.steps.publish import PublishParams
from onnxbuild.workers.publish.others_files import check_others


class Place(PlainPlace, Protocol):
    """A place with plain files that can be written."""

    def is_elsewhere(self, name: str) -> bool:
        """Whether a file of this name would be outside the place, behind a link."""

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
    before, changes = compared(place, upload)
    check_others(params, changes, is_first=before is None)
    _check_links(place, params, changes)
    if not changes.is_empty:
        _write(place, upload, changes, before or {}, tell)
    return changes


def _write(place: Place, upload: Upload, changes: Difference, before: Listing, tell: Tell) -> None:
    names = [name for name in changes.uploaded if name != SUMS]
    if names or changes.deleted:
        place.write(SUMS, sums_under_way(before, upload.files, names))
    for number, name in enumerate(names):
        tell(f"writing {name}", number, len(names))
        place.write(name, upload.files[name])
    for name in changes.deleted:
        place.remove(name)
    place.write(SUMS, upload.files[SUMS])


def _check_links(place: Place, params: PublishParams, changes: Difference) -> None:
    outside = next((name for name in (*changes.uploaded, *changes.deleted) if place.is_elsewhere(name)), None)
    if outside is not None:
        message = f"{params.shown} has a link in place of a folder, and {outside} would be behind it"
        hint = "put a folder in place of the link, or publish to another folder"
        raise CheckFailed("OBE205", message, notes=[("hint", hint)])


class _Folder(FolderFiles):
    """A folder of this machine. Each file is replaced at once."""

    def is_elsewhere(self, name: str) -> bool:
        return is_behind_link(self.root, name)

    def write(self, name: str, file: LocalFile) -> None:
        path = self.root / name
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
        (self.root / name).unlink(missing_ok=True)


class _Bucket(BucketFiles):
    """A folder in a bucket of S3."""

    def is_elsewhere(self, name: str) -> bool:  # noqa: ARG002 - a bucket has no links
        return False
