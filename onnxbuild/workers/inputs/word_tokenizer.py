"""Tokenizers that read words with their place on a page or in a document, called with text alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

# What a tokenizer takes for each word, and a value for it. Graphs get places of their own: `tables/input_kinds.py`.
_PER_WORD: Mapping[str, Any] = {"boxes": [0, 0, 0, 0], "xpaths": "/html/body/p"}


def with_places(tokenizer: Any) -> Any:
    """The tokenizer itself, or a wrapper that gives each word a place if it asks for one."""
    takes = inspect.signature(type(tokenizer).__call__).parameters
    names = [name for name in _PER_WORD if name in takes]
    return _WordTokenizer(tokenizer, names) if names else tokenizer


class _WordTokenizer:
    """Splits text into words. Of two texts the second has places: the first is a question."""

    def __init__(self, tokenizer: Any, names: list[str]) -> None:
        self._tokenizer, self._names = tokenizer, names

    def __call__(self, text: str, text_pair: str | None = None, **options: Any) -> Any:
        words = (text if text_pair is None else text_pair).split()
        texts = (words,) if text_pair is None else (text, words)
        places = {name: [_PER_WORD[name]] * len(words) for name in self._names}
        return self._tokenizer(*texts, **places, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)
