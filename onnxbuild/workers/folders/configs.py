"""The configs of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed


def read_config(root: Path) -> dict[str, Any]:
    """The model's config.json; empty if a folder of bare graphs has none."""
    path = root / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckFailed("OBE16", f"config.json is not JSON: {error}") from error
    return config if isinstance(config, dict) else {}
