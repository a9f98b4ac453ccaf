"""The worker of `reader`: appends what the dataset has, and what the manifest says about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toy_steps import ReaderParams


def run(params: ReaderParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], tell: Any) -> Mapping[str, Any]:
    rows = b"".join(path.read_bytes() for path in sorted(inputs["dataset"].iterdir()))
    for path in inputs["model"].iterdir():
        (outputs["model"] / path.name).write_bytes(path.read_bytes() + rows + str(params.rows.limit).encode())
    return {}
