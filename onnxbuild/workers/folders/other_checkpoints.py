"""The model type of a folder, also of one that transformers does not load."""

from __future__ import annotations

import os
from pathlib import Path

from onnxbuild.tables.checkpoints.other_libraries import described
from onnxbuild.workers.folders.configs import read_config


def type_of(folder: Path) -> str | None:
    """The model type of a checkpoint; None for a folder without weights, such as one of graphs."""
    found = (described(read_config(folder), os.listdir(folder)) or {}).get("model_type")
    return None if found is None else str(found)
