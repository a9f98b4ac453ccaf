"""Word and character error rates of transcripts, counted by jiwer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from msgspec import Struct

from onnxbuild.workers.validate.by_task.measured import Array, Measured

_RATES = ("wer", "cer")


class Edits(Struct, frozen=True, kw_only=True):
    """By row: how many words or characters were exchanged, left out or added, and how many there should be."""

    edits: Array
    of: Array


def of_transcripts(wanted: Sequence[str], actual: Sequence[str], rights: Sequence[str] | None) -> Iterator[Measured]:
    """Error rates of the variant's transcripts: with the reference's as truth, and with what is said."""
    for rate in _RATES:
        found = _counted(rate, wanted, actual)
        yield Measured(
            metric=f"transcript_{rate}",
            value=float(error_rate(found.edits, found.of)),
            unit="recordings",
            parts=(found.edits, found.of),
            statistic=error_rate,
        )
    for rate in _RATES if rights is not None else ():
        sides = [_counted(rate, rights or (), texts) for texts in (actual, wanted)]
        yield _beside(rate, *sides)


def error_rate(edits: Array, of: Array, axis: int = -1) -> Array:
    """All edits over all words, so that long recordings count as much as they are long; edits alone over no word."""
    top, bottom = edits.sum(axis=axis), of.sum(axis=axis)
    return top / np.maximum(bottom, 1.0)  # type: ignore[no-any-return]


def _beside(rate: str, variant: Edits, reference: Edits) -> Measured:
    return Measured(
        metric=rate,
        value=float(error_rate(variant.edits, variant.of)),
        reference=float(error_rate(reference.edits, reference.of)),
        unit="recordings",
        parts=(variant.edits, reference.edits, variant.of),
        statistic=lambda one, other, of, axis=-1: error_rate(one, of, axis) - error_rate(other, of, axis),
        own=(variant.edits, variant.of),
        own_statistic=error_rate,
    )


def _counted(rate: str, rights: Sequence[str], texts: Sequence[str]) -> Edits:
    count, plain = _counter(rate)
    found = [
        count(right, text, reference_transform=plain, hypothesis_transform=plain)
        for right, text in zip(rights, texts, strict=True)
    ]
    return Edits(
        edits=np.array([float(one.substitutions + one.deletions + one.insertions) for one in found]),
        of=np.array([float(one.hits + one.substitutions + one.deletions) for one in found]),
    )


@cache
def _counter(rate: str) -> tuple[Callable[..., Any], Any]:
    """The function of jiwer, and its transformation: lower case, no punctuation, one space between words."""
    import jiwer

    last = jiwer.ReduceToListOfListOfWords() if rate == "wer" else jiwer.ReduceToListOfListOfChars()
    steps = [jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip(), last]
    return (jiwer.process_words if rate == "wer" else jiwer.process_characters), jiwer.Compose(steps)
