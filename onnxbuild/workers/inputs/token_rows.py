"""Rows of token ids: from sentences if the model has a tokenizer, from a seed if it has none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.sentences import SENTENCES

DECODER_TOKENS = 8  # prefix of an encoder-decoder's decoder
STEPS = 3  # tokens after a prefix or a prompt, one for each step with a past


def token_row(source: Source, number: int, length: int) -> list[int]:
    """`length` token ids: sentences from the `number`th on, or seeded ids if there is no tokenizer."""
    ids = _enough_ids(source.tokenizer, source.seed + 7 * number, length) if source.tokenizer is not None else ()
    if not ids:  # genai saves a tokenizer without words for a checkpoint that has none
        vocabulary = max(2, int(source.text.get("vocab_size") or 1000))
        return np.random.default_rng([source.seed, number, length]).integers(1, vocabulary, length).tolist()  # type: ignore[no-any-return]
    end = ids[-1:] if ids[-1] in source.tokenizer.all_special_ids else ()
    return [*ids[: length - len(end)], *end] if length > len(end) else list(ids[:length])


@lru_cache(maxsize=512)
def _enough_ids(tokenizer: Any, start: int, length: int) -> Sequence[int]:
    """At least `length` ids of text, in few rounds, or none if the tokenizer knows no words."""
    first = start % len(SENTENCES)
    text = ""
    ids: Sequence[int] = ()
    while len(ids) < length:
        text = (text + " " + " ".join(SENTENCES[first:] + SENTENCES[:first])).strip()
        ids = tokenizer(text, verbose=False)["input_ids"]
        if not ids:
            break
    return tuple(ids)


def sentence_rows(source: Source, limit: int) -> list[list[int]]:
    """A row per sentence of its natural length, or seeded ids of that length, cut to `limit` tokens."""
    if source.tokenizer is not None:
        return [source.tokenizer(text)["input_ids"][:limit] for text in SENTENCES]
    lengths = (min(len(text.split()), limit) for text in SENTENCES)
    return [token_row(source, number, length) for number, length in enumerate(lengths)]


def decoder_prefix(source: Source, batch: int, length: int = DECODER_TOKENS) -> np.ndarray:
    """Tokens for a decoder, [batch, length + STEPS], different in each row; the last ones are for steps with a past."""
    rows = [token_row(source, row + 3, length + STEPS) for row in range(batch)]
    prefix: np.ndarray = np.array(rows, np.int64)
    start = source.config.get("decoder_start_token_id")
    if start is not None:
        prefix[:, 0] = start
    return prefix
