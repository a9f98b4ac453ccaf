"""Reading from each kind of backend without taking more than was asked for, whatever the other side sends.

fsspec's `cat_file` reads to the end of the answer, even if the server ignores the requested range.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from onnxbuild.regular_files import NotRegular, open_regular
from onnxbuild.store.remote import bounded_webdav
from onnxbuild.store.remote.address import S3, WEBDAV


def read_range(filesystem: Any, scheme: str, path: str, start: int | None, size: int, seconds: float) -> bytes:
    """At most `size` bytes from `start`; from the beginning if it is None.

    Errors: FileNotFoundError; NotRegular for a folder that holds a link or a device; those of the backend.
    """
    if scheme == "file":
        return _from_file(path, start or 0, size)
    if scheme in S3:
        return _from_bucket(filesystem, path, start, size)
    if scheme in WEBDAV:
        return bounded_webdav.get(filesystem, path, start or 0, size, seconds)
    data: bytes = filesystem.cat_file(path, start=start or 0, end=(start or 0) + size)
    return data[:size]


def size_of(filesystem: Any, scheme: str, path: str) -> int | None:
    """The size of a file, or None if there is none. Errors: as `read_range`."""
    if scheme == "file":
        return _regular_size(path)
    status = filesystem.info(path)
    return None if status.get("type") == "directory" else int(status["size"] or 0)


def _from_file(path: str, start: int, size: int) -> bytes:
    with open_regular(path) as file:
        file.seek(start)
        data = bytearray()
        while len(data) < size and (chunk := file.read(size - len(data))):
            data += chunk
    return bytes(data)


def _regular_size(path: str) -> int | None:
    status = os.stat(path, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        return None
    if not stat.S_ISREG(status.st_mode):
        raise NotRegular(0, "is not a regular file", path)
    return status.st_size


def _from_bucket(filesystem: Any, path: str, start: int | None, size: int) -> bytes:
    from fsspec.asyn import sync

    data: bytes = sync(filesystem.loop, _object, filesystem, path, start, size)
    return data


async def _object(filesystem: Any, path: str, start: int | None, size: int) -> bytes:
    bucket, key, _version = filesystem.split_path(path)
    # Without a range where everything is wanted: S3 answers a range of an empty object with an error.
    asked = {} if start is None else {"Range": f"bytes={start}-{start + size - 1}"}
    answer = await filesystem._call_s3("get_object", Bucket=bucket, Key=key, **asked)  # noqa: SLF001 - as s3fs's own
    body, data = answer["Body"], bytearray()
    try:
        while len(data) < size and (chunk := await body.read(size - len(data))):
            data += chunk
    finally:
        body.close()
    return bytes(data)
