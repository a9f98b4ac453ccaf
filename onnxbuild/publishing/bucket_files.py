"""The files below an address of S3, for publishing there and for the comparison before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxbuild.publishing.difference import RemoteFile
from onnxbuild.publishing.uploaded_files import SUMS, Upload

# Exceptions of botocore, which is imported by s3fs alone.
WITHOUT_KEYS = frozenset({"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"})


class AbsentError(Exception):
    """A package that the destination needs is not installed; the text is its name."""


class BucketFiles:
    """Reads a folder of a bucket through fsspec. The address and the keys come from the variables AWS_…."""

    def __init__(self, address: str) -> None:
        """Connect. Errors: AbsentError without s3fs."""
        try:
            import fsspec
            import s3fs  # noqa: F401
        except ImportError:
            raise AbsentError("s3fs") from None
        self.system: Any = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        self.root = address.removeprefix("s3://").rstrip("/")

    def read(self, name: str) -> bytes | None:
        """The content of a file, None if it does not exist."""
        try:
            return bytes(self.system.cat_file(f"{self.root}/{name}"))
        except FileNotFoundError:
            return None

    def files(self, before: Mapping[str, str], upload: Upload) -> dict[str, RemoteFile]:
        """A file of the right size counts as the one in the list: a bucket knows digests only of some uploads.

        The size of a listed file is known if it is one of the upload.
        """
        found = self.system.find(self.root, detail=True)
        sizes = {name.removeprefix(f"{self.root}/"): int(facts["size"]) for name, facts in found.items()}
        wanted = {name: sizes[name] for name in {*before, *upload.files} if name in sizes}
        listing = {**before, SUMS: upload.files[SUMS].sha256 if self.read(SUMS) == upload.files[SUMS].read() else "-"}
        known = {(name, file.sha256): file.size for name, file in upload.files.items()}
        digests = {name: listing.get(name, "-") for name in wanted}
        is_listed = {name: known.get((name, digest), wanted[name]) == wanted[name] for name, digest in digests.items()}
        return {name: RemoteFile(size, digests[name] if is_listed[name] else "-") for name, size in wanted.items()}
