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


def limit_tokenizer(root: Path, max_length: int) -> None:
    """Tell the tokenizer of a model folder, if there is one, to cut texts at this number of tokens."""
    path = root / "tokenizer_config.json"
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        shorter = min(max_length, int(config.get("model_max_length") or max_length))
        path.write_text(json.dumps({**config, "model_max_length": shorter}, indent=2) + "\n", encoding="utf-8")
