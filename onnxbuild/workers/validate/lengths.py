"""The lengths and sizes at which a variant is compared besides the given shapes: the model decides, not a constant.

A trace can freeze what depends on a length: the number of chunks, the branch for short texts, the size of a picture.
So one length is odd and past what exporters trace with, one is past every entry of the config after which the model
computes in another way, and one is the longest that the model has positions for, as far as memory and time allow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.tables.positions import changes_at
from onnxbuild.workers.inputs.media import takes_frames
from onnxbuild.workers.inputs.sample_source import NO_LIMIT, Source
from onnxbuild.workers.inputs.samples import Sample, shaped
from onnxbuild.workers.inputs.token_rows import DECODER_TOKENS, STEPS

_PAST_TRACES = 131  # odd, and more than twice the longest sequence that exporters trace with
_BEYOND = 3  # tokens past a constant, or one more to make an odd length
_PAST_CONSTANTS_BYTES = 1 << 30  # memory for a length past a constant, or twice the weights if that is more
_LONGEST_BYTES = 1 << 28  # the same for the longest positions, which change no way of computing
_MOST_WORK = 2e13  # tokens × bytes of weights, about two minutes on two cores
_HEADS = ("num_attention_heads", "n_head", "num_heads", "encoder_attention_heads")
_DECODER_POSITIONS = ("max_target_positions", "max_decoder_position_embeddings")


class Chosen(Struct, frozen=True, kw_only=True):
    """Lengths in tokens, ascending, and the entries of the config (with their values) that none of them passes."""

    lengths: tuple[int, ...] = ()
    unreached: Mapping[str, int] = {}


def chosen(source: Source, weights_bytes: int, longest: int | None) -> Chosen:
    """The lengths for a model of this size, none of them above `longest`."""
    if "input_ids" not in source.inputs:
        return Chosen(lengths=(_PAST_TRACES,) if _hears_any_length(source) else ())
    if not _is_free(source, "input_ids"):
        return Chosen()
    limit = limit_of(source, longest)
    constants = {name: size for name, size in changes_at(source.config).items() if size < limit}
    reachable = _longest_within(source, max(_PAST_CONSTANTS_BYTES, 2 * weights_bytes))
    past = max((size + _BEYOND | 1 for size in constants.values() if size + _BEYOND < reachable), default=0)
    named = limit if limit < NO_LIMIT else 0
    work = int(_MOST_WORK / max(1, weights_bytes))
    far = min(named, work, _longest_within(source, max(_LONGEST_BYTES, 2 * weights_bytes)))
    lengths = {min(length, limit) for length in (_PAST_TRACES, past, far) if length}
    most = max(lengths)
    unreached = {name: size for name, size in constants.items() if size >= most}
    return Chosen(
        lengths=tuple(sorted(length for length in lengths if length >= min(limit, _PAST_TRACES))), unreached=unreached
    )


def limit_of(source: Source, longest: int | None) -> int:
    """The most tokens of a prompt: a decoder needs one more position for its step."""
    limit = source.positions - (1 if source.causal else 0)
    return limit if longest is None else min(limit, longest)


def of_length(source: Source, length: int, *, padded: bool = False) -> Sample:
    """A sample of this length, of two rows if it is `padded`; an encoder-decoder's decoder gets as much."""
    positions = next((int(source.text[key]) for key in _DECODER_POSITIONS if source.text.get(key)), length + STEPS)
    decoder = max(DECODER_TOKENS, min(length, positions - STEPS, source.positions - STEPS))
    return shaped(source, _rows(source, padded=padded), length, decoder_tokens=decoder)


def _rows(source: Source, *, padded: bool) -> int:
    spec = next(iter(source.inputs.values()))
    return spec.shape[0] if isinstance(spec.shape[0], int) else 1 + int(padded)


def _is_free(source: Source, name: str) -> bool:
    spec = source.inputs.get(name)
    return spec is not None and not isinstance(spec.shape[-1], int)


def _hears_any_length(source: Source) -> bool:
    spectrum = source.inputs.get("input_features")
    return _is_free(source, "input_values") or (spectrum is not None and takes_frames(spectrum.shape[1:]))


def _longest_within(source: Source, budget: int) -> int:
    """The longest sequence whose intermediate values take about `budget` bytes: attention, logits, hidden states."""
    text = source.text
    heads = next((int(text[key]) for key in _HEADS if isinstance(text.get(key), int)), 16)
    per_pair = 4.0 * 3 * heads
    per_token = 4.0 * (3 * _number(text, "vocab_size", 32000) + 16 * _number(text, "hidden_size", 1024))
    return int(((per_token**2 + 4 * per_pair * budget) ** 0.5 - per_token) / (2 * per_pair))


def _number(text: Mapping[str, Any], key: str, default: int) -> int:
    return int(text[key]) if isinstance(text.get(key), int) else default
