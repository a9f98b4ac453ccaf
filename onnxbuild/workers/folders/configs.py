"""The configs of a model folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed

# Entries for code that traces a model by itself, which gets tuples; the values are those that name outputs.
_NAMES_OUTPUTS: Mapping[str, bool] = {"return_dict": True, "torchscript": False}


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


def named_outputs(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a config that must change for a model to return its outputs by name, which exporters expect."""
    changed = _with_names(config)
    return {key: value for key, value in changed.items() if value != config[key]}


def _with_names(part: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _NAMES_OUTPUTS[key] if key in _NAMES_OUTPUTS else _with_names(value) if isinstance(value, dict) else value
        for key, value in part.items()
    }


def limit_tokenizer(root: Path, max_length: int) -> None:
    """Tell the tokenizer of a model folder, if there is one, to cut texts at this number of tokens."""
    path = root / "tokenizer_config.json"
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        shorter = min(max_length, int(config.get("model_max_length") or max_length))
        path.write_text(json.dumps({**config, "model_max_length": shorter}, indent=2) + "\n", encoding="utf-8")
