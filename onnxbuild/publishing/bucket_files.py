"""The files below an address of S3, for publishing there and for the comparison before it.

S3 keeps the SHA-256 that each file was uploaded with, refuses content that does not have it, and tells it when it is
asked. A large file is uploaded in parts. For these S3 keeps a checksum of the parts' checksums alone, so the SHA-256
of the file stands beside it in the metadata. The metadata count only for this very checksum, because some clients keep
them when they replace the content. A file without either, such as one that another client has uploaded, is read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import mimetypes
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from onnxbuild.publishing.difference import RemoteFile
from onnxbuild.publishing.uploaded_files import LocalFile

# Exceptions of botocore, which is imported by s3fs alone.
WITHOUT_KEYS = frozenset({"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"})

PART_BYTES = 64 << 20  # S3 takes 10,000 parts at most, so a file may have 640 GiB
_AT_ONCE = 8  # parts under way, each in memory
_SHA256, _OF_PARTS = "onnxbuild-sha256", "onnxbuild-sha256-of-parts"


class AbsentError(Exception):
    """A package that the destination needs is not installed; the text is its name."""


class BucketFiles:
    """A folder of a bucket, reached through fsspec. The address and the keys come from the variables AWS_…."""

    def __init__(self, address: str) -> None:
        """Connect. Errors: AbsentError without s3fs."""
        try:
            import fsspec
            import s3fs  # noqa: F401
        except ImportError:
            raise AbsentError("s3fs") from None
        self._system: Any = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        self._root = address.removeprefix("s3://").rstrip("/")

    def read(self, name: str) -> bytes | None:
        """The content of a file, None if it does not exist."""
        try:
            return bytes(self._system.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None

    def files(self, names: Iterable[str]) -> dict[str, RemoteFile]:
        """Those of the named files that are there, with their digests."""
        found = ((name, self._file(name)) for name in sorted(names))
        return {name: file for name, file in found if file is not None}

    def _file(self, name: str) -> RemoteFile | None:
        try:
            facts = self._call("head_object", name, ChecksumMode="ENABLED")
        except FileNotFoundError:
            return None
        return RemoteFile(int(facts["ContentLength"]), digest_in(facts) or self._read_digest(name))

    def _read_digest(self, name: str) -> str:
        with self._system.open(f"{self._root}/{name}", "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def write(self, name: str, file: LocalFile) -> None:
        """Add or replace a file. Errors: OSError, also for a file that has changed since its digest was computed."""
        if file.size > PART_BYTES:
            self._write_parts(name, file)
        else:
            checksum = _in_base64(bytes.fromhex(file.sha256))
            self._call(
                "put_object",
                name,
                Body=file.read(),
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=checksum,
                **_type_of(name),
            )

    def _write_parts(self, name: str, file: LocalFile) -> None:
        digests = [hashlib.sha256(file.part(start, PART_BYTES)).digest() for start in range(0, file.size, PART_BYTES)]
        metadata = {_SHA256: file.sha256, _OF_PARTS: checksum_of_parts(digests)}
        begun = self._call(
            "create_multipart_upload", name, ChecksumAlgorithm="SHA256", Metadata=metadata, **_type_of(name)
        )
        upload = {"UploadId": begun["UploadId"]}

        def send(number: int) -> Mapping[str, Any]:
            checksum = _in_base64(digests[number])
            body = file.part(number * PART_BYTES, PART_BYTES)
            sent = self._call("upload_part", name, PartNumber=number + 1, Body=body, ChecksumSHA256=checksum, **upload)
            return {"PartNumber": number + 1, "ETag": sent["ETag"], "ChecksumSHA256": checksum}

        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                parts = list(pool.map(send, range(len(digests))))
            self._call("complete_multipart_upload", name, MultipartUpload={"Parts": parts}, **upload)
        except BaseException:
            self._call("abort_multipart_upload", name, **upload)  # else S3 keeps the parts, and they cost
            raise

    def remove(self, name: str) -> None:
        """Remove a file."""
        self._system.rm_file(f"{self._root}/{name}")

    def _call(self, method: str, name: str, **params: Any) -> Mapping[str, Any]:
        """An operation of S3 on a file. Errors: OSError, FileNotFoundError for a file that does not exist."""
        bucket, _, key = f"{self._root}/{name}".partition("/")
        answer: Mapping[str, Any] = self._system.call_s3(method, Bucket=bucket, Key=key, **params)
        return answer


def digest_in(facts: Mapping[str, Any]) -> str:
    """The SHA-256 of a file in S3's answer about it, as hexadecimal digits; empty if the answer does not have it."""
    checksum, _, parts = str(facts.get("ChecksumSHA256") or "").partition("-")
    metadata = facts.get("Metadata") or {}
    # Some servers leave out the number of parts.
    if checksum and checksum == str(metadata.get(_OF_PARTS, "")).partition("-")[0]:
        return str(metadata.get(_SHA256, ""))
    if parts or "-" in str(facts.get("ETag", "")):
        return ""  # it is that of other parts
    try:
        return base64.b64decode(checksum, validate=True).hex()
    except binascii.Error:
        return ""


def checksum_of_parts(digests: Iterable[bytes]) -> str:
    """The checksum that S3 gives a file in parts: that of their digests, and how many they are."""
    listed = list(digests)
    return f"{_in_base64(hashlib.sha256(b''.join(listed)).digest())}-{len(listed)}"


def _in_base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def _type_of(name: str) -> Mapping[str, str]:
    found = mimetypes.guess_type(name)[0]
    return {"ContentType": found} if found else {}
