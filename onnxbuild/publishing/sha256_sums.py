"""The SHA-256 of files and bytes, as `sha256sum` computes and lists it: for folders that others receive."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_bytes(data: bytes) -> str:
    """The SHA-256 of a content, as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sum_line(sha256: str, name: str) -> str:
    """The line of a file in a list of `sha256sum`."""
    return f"{sha256}  {name}\n"
