"""Inputs of graphs besides text, images and audio: their axes, and the values that their tables of embeddings have.

An axis after the batch is a number, TOKENS, or entries of config.json, of which the first that it has counts; a number
at their end is the default of transformers. The ranges are those of transformers' embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

TOKENS = "tokens"
_REGIONS = 5  # of a picture, beside a text
_MASKS, _POINTS = 2, 3  # masks of one picture, and the points that choose each

Axis = int | str | tuple[str | int, ...]

# noise: normal values; below: whole numbers from 0; upto: fractions of the bound; boxes: corners [x0, y0, x1, y1] of
# which the second is not before the first; ones; first: 1 for the first token, which sees all others.
Values = Literal["noise", "below", "upto", "boxes", "ones", "first"]


class InputKind(Struct, frozen=True):
    """The axes after the batch, and the values; `bound` is the end of their range, an axis of the config."""

    axes: tuple[Axis, ...]
    values: Values = "noise"
    bound: Axis = 2


_SERIES: tuple[Axis, ...] = (("context_length",), ("num_input_channels", "input_size", 1))

INPUT_KINDS: Mapping[str, InputKind] = {
    # Documents: a page has 1000 units in each direction.
    "bbox": InputKind((TOKENS, 4), "boxes", ("max_2d_position_embeddings", 1024)),
    "xpath_tags_seq": InputKind((TOKENS, ("max_depth", 50)), "below", ("max_xpath_tag_unit_embeddings", 256)),
    "xpath_subs_seq": InputKind((TOKENS, ("max_depth", 50)), "below", ("max_xpath_subs_unit_embeddings", 1024)),
    # Regions of a picture beside a text.
    "visual_embeds": InputKind((_REGIONS, ("visual_embedding_dim", 2048))),
    "visual_attention_mask": InputKind((_REGIONS,), "ones"),
    "visual_token_type_ids": InputKind((_REGIONS,), "below", ("type_vocab_size", 2)),
    # Time series.
    "past_values": InputKind(_SERIES),
    "past_observed_mask": InputKind(_SERIES, "ones"),
    "future_values": InputKind((("prediction_length",), ("num_input_channels", "input_size", 1))),
    # Trajectories of an agent.
    "states": InputKind((TOKENS, ("state_dim", 17))),
    "actions": InputKind((TOKENS, ("act_dim", 4))),
    "rewards": InputKind((TOKENS, 1)),
    "returns_to_go": InputKind((TOKENS, 1)),
    "timesteps": InputKind((TOKENS,), "below", ("max_ep_len", 4096)),
    # Points of a picture that say what to cut out.
    "input_points": InputKind((_MASKS, _POINTS, 2), "upto", ("image_size", 1024)),
    "input_labels": InputKind((_MASKS, _POINTS), "below", 2),
    # Text besides `input_ids`.
    "inputs": InputKind((TOKENS,), "below", ("vocab_size", 2)),
    "inputs_embeds": InputKind((TOKENS, ("hidden_size", "d_model", "n_embd"))),
    "decoder_input_ids": InputKind((TOKENS,), "below", ("vocab_size", 2)),
    "decoder_attention_mask": InputKind((TOKENS,), "ones"),
    "global_attention_mask": InputKind((TOKENS,), "first"),
}

_PICTURE_AXES = 4  # batch, colors, height, width


def axes_of_config(name: str, rank: int) -> Mapping[int, tuple[str | int, ...]]:
    """The axes of an input that have one size for a model, by their number: its config and its weights fix them."""
    if name == "pixel_values":
        return {1: ("num_channels", 3)} if rank == _PICTURE_AXES else {}
    kind = INPUT_KINDS.get(name)
    if kind is None or len(kind.axes) != rank - 1:
        return {}
    return {number: axis for number, axis in enumerate(kind.axes, 1) if isinstance(axis, tuple)}
