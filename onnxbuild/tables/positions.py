"""What a config.json says about lengths: how many tokens a model accepts, and at which lengths it changes its ways."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_KEYS = ("n_positions", "max_position_embeddings")

# Model types that number positions from the token of padding on: as many as its id, and one more, are never used.
_FROM_PADDING = frozenset({
    "camembert", "data2vec-text", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
})  # fmt: skip
_PADDING = 1  # the id that these types have by default

_ROPE = ("rope_scaling", "rope_parameters")

# Entries after which a model computes in another way: chunks of linear attention, windows, sparse blocks, positions
# of the training before a rotary embedding is scaled. A trace can freeze the way that its own length took.
_FREEZING = re.compile(r"(^|_)(chunk|window|block|local|original|segment|bucket|buckets|distance)(_|$)")
_OF_OTHER_INPUTS = ("vision_config", "audio_config", "id2label", "label2id")

_OF_NO_TEXT = ("architecture", "image_size", "num_channels", "num_mel_bins", "input_feat_per_channel", "context_length")


def may_read_text(config: Mapping[str, Any] | None) -> bool:
    """Whether a model reads text, as far as its config says: one of pictures, audio or series has no vocabulary."""
    if config is None or "text_config" in config or "vocab_size" in text_part(config):
        return True
    return not any(key in config for key in _OF_NO_TEXT)


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes text: a decoder's or a text model's entries over those of the whole."""
    return {**config, **(config.get("decoder") or {}), **(config.get("text_config") or {})}


def positions_of(config: Mapping[str, Any] | None) -> int | None:
    """The maximum number of tokens that the model accepts, None if its config names no limit.

    A rotary embedding that is scaled as the text grows (`dynamic`) reaches its factor times further.
    """
    if config is None:
        return None
    # Equal to a look into `text_part`, without its copy: a lint asks this for each check of each model.
    inner = (config.get("text_config"), config.get("decoder"))
    parts = (*(part for part in inner if isinstance(part, Mapping)), config)
    named = [next((part[key] for part in parts if key in part), None) for key in _KEYS]
    limit = min((value for value in named if isinstance(value, int) and value > 0), default=None)
    if limit is None:
        return None
    if config.get("model_type") in _FROM_PADDING:
        limit -= _padding_of(config) + 1
    return int(limit * max((_dynamic_factor(part) for part in parts), default=1.0))


def _padding_of(config: Mapping[str, Any]) -> int:
    named = config.get("pad_token_id")
    return named if isinstance(named, int) and named >= 0 else _PADDING


def changes_at(config: Mapping[str, Any]) -> dict[str, int]:
    """Lengths in tokens by the entry that names them, beyond which the model may compute in another way."""
    found = dict(_constants(config))
    text = text_part(config)
    if sparse := _sparse_from(text):
        found["attention_type"] = sparse
    limit = next((text[key] for key in _KEYS if key in text), None)
    if isinstance(limit, int) and _dynamic_factor(text) > 1:
        found["max_position_embeddings"] = limit
    return found


def _sparse_from(text: Mapping[str, Any]) -> int:
    """The most tokens that BigBird attends to in full: two global blocks, three near ones, twice the random ones."""
    block, random = text.get("block_size"), text.get("num_random_blocks")
    if text.get("attention_type") != "block_sparse" or not isinstance(block, int) or not isinstance(random, int):
        return 0
    return (5 + 2 * random) * block


def _constants(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and key not in _OF_OTHER_INPUTS:
            yield from _constants(value)
        elif _FREEZING.search(key):
            sizes = [one for one in (value if isinstance(value, list) else [value]) if type(one) is int and one > 0]
            yield from ((key, one) for one in sorted(sizes)[-1:])


def _dynamic_factor(part: Mapping[str, Any]) -> float:
    """By how much a rotary embedding that grows with the text extends the positions; 1 for any other."""
    for key in _ROPE:
        rope = part.get(key)
        if isinstance(rope, Mapping) and "dynamic" in (rope.get("rope_type"), rope.get("type")):
            factor = rope.get("factor")
            return max(1.0, float(factor)) if isinstance(factor, int | float) else 1.0
    return 1.0
