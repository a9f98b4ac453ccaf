"""How many tokens a model accepts: the number of positions in its config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEYS = ("n_positions", "max_position_embeddings")


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes text: a decoder's or a text model's entries over those of the whole."""
    return {**config, **(config.get("decoder") or {}), **(config.get("text_config") or {})}


def positions_of(config: Mapping[str, Any] | None) -> int | None:
    """The maximum number of tokens that the model accepts, None if its config names no limit."""
    if config is None:
        return None
    # Equal to a look into `text_part`, without its copy: a lint asks this for each check of each model.
    inner = (config.get("text_config"), config.get("decoder"))
    parts = (*(part for part in inner if isinstance(part, Mapping)), config)
    named = [next((part[key] for part in parts if key in part), None) for key in _KEYS]
    return min((value for value in named if isinstance(value, int) and value > 0), default=None)
