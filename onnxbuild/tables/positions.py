"""How many tokens a model takes: the number of positions in its config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KEYS = ("n_positions", "max_position_embeddings")


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes text: a decoder's or a text model's entries over those of the whole."""
    return {**config, **config.get("decoder", {}), **config.get("text_config", {})}


def positions_of(config: Mapping[str, Any] | None) -> int | None:
    """The most tokens that the model takes, None where its config names no limit."""
    text = text_part(config or {})
    named = [text.get(key) for key in _KEYS]
    return min((value for value in named if isinstance(value, int) and value > 0), default=None)
