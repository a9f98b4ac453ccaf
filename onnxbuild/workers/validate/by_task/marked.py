"""Metrics of what a model marks in a text: the span of an answer, and entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from onnxbuild.workers.validate.by_task.cases import Cases
from onnxbuild.workers.validate.by_task.encoded import Encoded, words_of
from onnxbuild.workers.validate.by_task.measured import Measured, both_sides, mean_of, ratio
from onnxbuild.workers.validate.by_task.summaries import Summary

_LONGEST_ANSWER = 30  # tokens, as in transformers' pipeline and the SQuAD script
_TYPES: Mapping[str, str] = {
    "PER": "PER", "PERSON": "PER", "ORG": "ORG", "ORGANIZATION": "ORG", "LOC": "LOC", "LOCATION": "LOC", "GPE": "LOC",
}  # fmt: skip


def of_spans(cases: Cases, rows: Sequence[Summary], encoded: Sequence[Encoded], tokenizer: Any) -> Iterator[Measured]:
    """Agreement on the answer's span, the overlap of the two spans, and the overlap with the right answer."""
    spans = [
        (best_span(row.reference, one), best_span(row.variant, one)) for row, one in zip(rows, encoded, strict=True)
    ]
    yield mean_of("span_agreement", [float(wanted == actual) for wanted, actual in spans], is_share=True)
    yield mean_of("span_f1", [_overlap(_tokens(wanted), _tokens(actual)) for wanted, actual in spans])
    known = [number for number, case in enumerate(cases.rows) if case.right is not None]
    if not known:
        return
    scores: list[list[float]] = [[], []]
    for number in known:
        right = words_of(str(cases.rows[number].right))
        for side, (start, end) in enumerate(spans[number]):
            text = tokenizer.decode(list(encoded[number].ids[start : end + 1]), skip_special_tokens=True)
            scores[side].append(_overlap(words_of(text), right))
    yield both_sides("answer_f1", scores[1], scores[0])


def best_span(logits: np.ndarray, encoded: Encoded) -> tuple[int, int]:
    """The start and end, both included, with the largest sum of logits, in the context and of a bounded length."""
    start, end = logits
    allowed = np.array(encoded.context, bool)
    sums = np.where(allowed[:, None] & allowed[None], start[:, None] + end[None], -np.inf)
    sums = np.where(np.triu(np.ones_like(sums), 0) * (1 - np.triu(np.ones_like(sums), _LONGEST_ANSWER)), sums, -np.inf)
    first, last = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(first), int(last)


def of_entities(
    cases: Cases, rows: Sequence[Summary], encoded: Sequence[Encoded], names: Mapping[int, str]
) -> Iterator[Measured]:
    """F1 of entities, the reference's and the right ones: all of an entity's words and its type must be equal."""
    wanted, actual = (
        [_tags(side, one, names) for side, one in zip(sides, encoded, strict=True)]
        for sides in ([row.reference for row in rows], [row.variant for row in rows])
    )
    yield _f1("entity_agreement", wanted, actual)
    known = [number for number, case in enumerate(cases.rows) if case.right is not None]
    if known and {"PER", "ORG", "LOC"} <= {_type(name) for name in names.values()}:
        right = [list(cases.rows[number].right) for number in known]
        sides = [_f1("entity_f1", right, [_common(tags[number]) for number in known]) for tags in (actual, wanted)]
        yield _difference(*sides)


def _tokens(span: tuple[int, int]) -> list[int]:
    return list(range(span[0], span[1] + 1))


def _overlap(one: Sequence[Any], other: Sequence[Any]) -> float:
    """F1 of two bags: twice what they share over what both have."""
    shared = sum((Counter(one) & Counter(other)).values())
    total = len(one) + len(other)
    return 2 * shared / total if total else 1.0


def _tags(classes: np.ndarray, encoded: Encoded, names: Mapping[int, str]) -> list[str]:
    """A BIO tag per word: that of its first token. A model whose labels are not BIO marks runs of one label."""
    firsts: dict[int, int] = {}
    for place, word in enumerate(encoded.words):
        if word is not None:
            firsts.setdefault(word, place)
    return [_bio(names.get(int(classes[place]), "O")) for _, place in sorted(firsts.items())]


def _bio(name: str) -> str:
    return name if name == "O" or name[:2] in {"B-", "I-"} else f"I-{name}"


def _type(name: str) -> str | None:
    return _TYPES.get(_bio(name)[2:].upper())


def _common(tags: Sequence[str]) -> list[str]:
    """Tags with the names of types that the rows have; other types are no entity."""
    return [f"{tag[:2]}{kind}" if (kind := _type(tag)) else "O" for tag in tags]


def _f1(metric: str, right: Sequence[Sequence[str]], found: Sequence[Sequence[str]]) -> Measured:
    """F1 over all entities, as seqeval's `f1_score`; its counts by row make the interval."""
    from seqeval.metrics.sequence_labeling import get_entities

    entities = [
        (set(get_entities(list(one))), set(get_entities(list(other)))) for one, other in zip(right, found, strict=True)
    ]
    shared = np.array([2.0 * len(one & other) for one, other in entities])
    total = np.array([float(len(one) + len(other)) for one, other in entities])
    return Measured(
        metric=metric, value=float(ratio(shared, total)), unit="rows", parts=(shared, total), statistic=ratio
    )


def _difference(variant: Measured, reference: Measured) -> Measured:
    return Measured(
        metric=variant.metric,
        value=variant.value,
        reference=reference.value,
        unit="rows",
        parts=(*variant.parts, *reference.parts),
        statistic=lambda a, b, c, d, axis=-1: ratio(a, b, axis) - ratio(c, d, axis),
        own=variant.parts,
        own_statistic=ratio,
    )
