"""`SHA256SUMS`: the checksums of a package's files, as `sha256sum -c` reads them."""

from __future__ import annotations

from pathlib import Path

from onnxbuild.protocol import Facts
from onnxbuild.publishing.sha256_sums import sha256_of, sum_line
from onnxbuild.publishing.uploaded_files import CARD
from onnxbuild.workers.folders.model_files import bytes_below, files_below

SUMS = "SHA256SUMS"


def closed(package: Path) -> Facts:
    """Write the checksums of a package, and return its facts `files` and `bytes`.

    The card is counted even if the kind writes none: each delivered package has one, and `verify` counts it.
    """
    write_sums(package)
    return {"files": len({*files_below(package), CARD}), "bytes": bytes_below(package)}


def write_sums(folder: Path) -> None:
    """Write the checksums of all files below a folder. `onnxbuild.json`, which is written later, is not among them."""
    names = [name for name in files_below(folder) if name != SUMS]
    lines = [sum_line(sha256_of(folder / name), name) for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")
