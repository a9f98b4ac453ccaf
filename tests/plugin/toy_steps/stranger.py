"""The worker of `stranger`: somebody else's code, which runs what the manifest says and reports what it got."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toy_steps import StrangerParams


def run(
    params: StrangerParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], tell: Any
) -> Mapping[str, Any]:
    """Run the code, then write the output. `marks` are what earlier actions left in this process."""
    names = {"inputs": inputs, "outputs": outputs, "got": {}}
    exec(params.code, names)
    marks = list(getattr(sys, "toy_marks", ()))
    sys.toy_marks = [*marks, params.text]  # type: ignore[attr-defined]
    for path in inputs["model"].iterdir():
        (outputs["model"] / path.name).write_bytes(path.read_bytes() + params.text.encode())
    return {"pid": os.getpid(), "marks": marks, "got": names["got"]}
