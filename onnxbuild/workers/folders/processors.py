"""The config of the image or audio processor of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FILE = "preprocessor_config.json"


def processor_of(folder: Path) -> Mapping[str, Any]:
    """The processor's config; empty if there is no readable one."""
    try:
        config = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def masks_audio(folder: Path) -> bool:
    """Whether audio comes with a mask: models whose convolutions normalize each layer were trained with one."""
    return processor_of(folder).get("return_attention_mask") is True
