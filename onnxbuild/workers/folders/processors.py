"""What the processor of pictures or sounds beside a model says about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FILE = "preprocessor_config.json"


def processor_of(folder: Path) -> Mapping[str, Any]:
    """The processor's config; empty where there is none that can be read."""
    try:
        found = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def masks_sound(folder: Path) -> bool:
    """Whether sounds come with a mask: models whose convolutions normalize each layer were trained with one."""
    return processor_of(folder).get("return_attention_mask") is True
