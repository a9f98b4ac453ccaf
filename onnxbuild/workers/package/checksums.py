"""`SHA256SUMS`: the checksums of a package's files, as `sha256sum -c` reads them."""

from __future__ import annotations

from pathlib import Path

from onnxbuild.publishing.sha256_sums import sha256_of, sum_line
from onnxbuild.workers.folders.model_files import files_below

SUMS = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write the checksums of all files below a folder. `onnxbuild.json`, which is written later, is not among them."""
    names = [name for name in files_below(folder) if name != SUMS]
    lines = [sum_line(sha256_of(folder / name), name) for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
