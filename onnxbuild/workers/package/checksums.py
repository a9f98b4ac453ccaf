"""`SHA256SUMS`: the checksums of a package's files, as `sha256sum -c` reads them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from onnxbuild.workers.folders.model_files import files_below

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write the checksums of all files below a folder. `onnxbuild.json`, which is written later, is not among them."""
    names = [name for name in files_below(folder) if name != SUMS]
    lines = [f"{file_sha256(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")


def file_sha256(path: Path) -> str:
    """The checksum of one file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
