"""The value of each input of a graph for one batch of token ids."""

from __future__ import annotations

import numpy as np

from onnxbuild.workers.engines.engine import InputSpec
from onnxbuild.workers.inputs.media import media_shape
from onnxbuild.workers.inputs.other_inputs import other_input
from onnxbuild.workers.inputs.sample_source import Source

_CHOICES = 3  # answers per question of a multiple-choice sample


def is_given(name: str) -> bool:
    """Whether an input is part of a sample, rather than a cache that a pass hands to the next one."""
    return not name.startswith("past_key_values") and name != "use_cache_branch"


def input_value(source: Source, name: str, spec: InputSpec, ids: np.ndarray, mask: np.ndarray, salt: int) -> np.ndarray:
    """The value of one input: text, position and type ids follow the tokens, all else is drawn from a seed."""
    if name == "input_ids":
        return _answers(source, ids, mask) if len(spec.shape) > ids.ndim else ids
    if name == "attention_mask":
        return _repeated(mask, spec)
    if name == "token_type_ids":
        return _repeated(_segments(source, mask), spec)
    if name == "position_ids":
        return _positions(source, mask)
    return _seeded(source, name, spec, (ids.shape[0], ids.shape[1]), salt)


def _positions(source: Source, mask: np.ndarray) -> np.ndarray:
    """Positions of a decoder start after the padding on its left."""
    if source.causal:
        return np.maximum(mask.cumsum(axis=1) - 1, 0)  # type: ignore[no-any-return]
    return np.arange(mask.shape[1])[None].repeat(len(mask), 0)


def _seeded(source: Source, name: str, spec: InputSpec, text_shape: tuple[int, int], salt: int) -> np.ndarray:
    batch, sequence = text_shape
    # Seeded by the input's name, so that a sample does not depend on the order of the inputs.
    generator = np.random.default_rng([source.seed, len(name), batch, salt])
    sizes = media_shape(source, name, spec, sequence)
    if sizes is None:
        return other_input(source, name, spec, text_shape, generator)
    if name == "pixel_mask":
        return np.ones((batch, *sizes), np.int64)
    return generator.standard_normal((batch, *sizes), np.float32)  # type: ignore[no-any-return]


def _answers(source: Source, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Ids with an axis of answers for multiple choice; each answer differs in every second token."""
    vocabulary = int(source.text.get("vocab_size") or 1000)
    changed = (mask > 0) & (np.arange(ids.shape[1]) % 2 == 1)
    answers = [np.where(changed, (ids + 7 * number) % vocabulary, ids) for number in range(_CHOICES)]
    return np.stack(answers, axis=1)  # type: ignore[no-any-return]


def _repeated(values: np.ndarray, spec: InputSpec) -> np.ndarray:
    """The same values for each answer, where the input has an axis of answers."""
    return values if len(spec.shape) == values.ndim else np.repeat(values[:, None], _CHOICES, axis=1)


def _segments(source: Source, mask: np.ndarray) -> np.ndarray:
    """Type ids: in a pair, the second half of each row's real tokens is the second text."""
    place = mask.cumsum(axis=1)
    second = (place > (mask.sum(axis=1, keepdims=True) + 1) // 2) & (mask > 0)
    takes_two = source.paired and int(source.text.get("type_vocab_size") or 0) > 1
    return second.astype(np.int64) * int(takes_two)  # type: ignore[no-any-return]
