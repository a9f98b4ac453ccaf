"""Rows as token ids, with what the ids stand for: words of the text, and the context of a question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.validate.by_task.cases import Case

_WORD = re.compile(r"[\u4e00-\u9fff]|\w+")


class Encoded(Struct, frozen=True, kw_only=True):
    """A row of token ids with its type ids. `words`: the number of each token's word, None for special tokens.

    `context`: whether a token belongs to the last text.
    """

    ids: Sequence[int]
    segments: Sequence[int]
    words: Sequence[int | None] = ()
    context: Sequence[bool] = ()


def encoded_case(source: Source, case: Case, limit: int) -> Encoded:
    """A case as the model's tokenizer gives it, cut to `limit` tokens."""
    encoded = source.tokenizer(*case.texts, truncation=True, max_length=limit)
    ids = list(encoded["input_ids"])
    segments = list(encoded.get("token_type_ids") or [0] * len(ids))
    return Encoded(ids=ids, segments=segments, words=_words(encoded, case), context=_context(encoded, segments))


def words_of(text: str) -> list[str]:
    """The words of an answer, as scores of question answering compare them: no case, no punctuation.

    A Chinese character counts as a word.
    """
    return _WORD.findall(text.casefold())


def _words(encoded: Any, case: Case) -> list[int | None]:
    """The word of each token, where words are what spaces separate; only fast tokenizers know it."""
    try:
        places = [encoded.token_to_chars(place) for place in range(len(encoded["input_ids"]))]
    except (ValueError, AttributeError, TypeError):
        return []
    starts = _starts(case.texts[0])
    return [None if place is None else starts[min(place.start, len(starts) - 1)] for place in places]


def _starts(text: str) -> list[int]:
    """The number of the word at each character; a space counts to the word after it."""
    numbers, word = [], 0
    for before, character in zip(" " + text, text, strict=False):
        word += character == " " and before != " "
        numbers.append(word)
    return numbers or [0]


def _context(encoded: Any, segments: Sequence[int]) -> list[bool]:
    """The tokens of the second text; all tokens if the tokenizer does not tell them apart."""
    try:
        parts = list(encoded.sequence_ids(0))
    except (ValueError, AttributeError):
        parts = [segment or None for segment in segments]
    inside = [part == 1 for part in parts]
    return inside if any(inside) else [True] * len(segments)
