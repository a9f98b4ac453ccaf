"""Metrics of classifiers, embedders and rerankers over rows."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any

import numpy as np

from onnxbuild.workers.measuring import metrics
from onnxbuild.workers.validate.by_task.cases import Cases
from onnxbuild.workers.validate.by_task.measured import Measured, both_sides, mean_of, ranks_of
from onnxbuild.workers.validate.by_task.summaries import Summary

_NEAREST = 10
_MOST_TEXTS = 1000  # of a dataset, for similarities of all pairs
_PERFECT = 5.0


def of_labels(
    cases: Cases, rows: Sequence[Summary], *, independent: bool, missing: Container[str] = ()
) -> Iterator[Measured]:
    """Agreement on the label (on the set of labels if they are `independent`), and differences of probabilities."""
    del missing  # numpy computes them all
    reference, variant = _stacked(rows)
    wanted, actual = (_decided(logits, independent=independent) for logits in (reference, variant))
    yield mean_of("label_agreement", _equal(wanted, actual), is_share=True)
    ranks = not independent and reference.shape[1] > metrics.TOP
    if ranks:
        yield mean_of("top5_agreement", _among(wanted, variant), is_share=True)
    probabilities = [metrics.probabilities(logits, independent=independent) for logits in (reference, variant)]
    apart = np.abs(probabilities[0] - probabilities[1])
    yield mean_of("mean_probability", apart.mean(axis=1))
    largest = apart.max(axis=1)
    yield mean_of("row_probability_mean", largest)
    yield _extreme("row_probability_max", largest, np.max)
    known = [number for number, case in enumerate(cases.rows) if case.right is not None]
    if known and not independent:
        right = np.array([cases.rows[number].right for number in known])
        yield both_sides("accuracy", _equal(actual[known], right), _equal(wanted[known], right))
        if ranks:
            yield both_sides("top5_accuracy", *(_among(right, side[known]) for side in (variant, reference)))


def of_vectors(
    cases: Cases, rows: Sequence[Summary], *, independent: bool, missing: Container[str] = ()
) -> Iterator[Measured]:
    """Cosines of vectors, and whether similarities between texts keep their order and their neighbours."""
    del independent
    reference, variant = _stacked(rows)
    cosines = metrics.cosines(reference, variant)
    yield mean_of("row_cosine_mean", cosines)
    yield _extreme("row_cosine_min", cosines, np.min)
    wanted, actual = _directions(reference), _directions(variant)
    pairs = cases.pairs or _all_pairs(min(len(rows), _MOST_TEXTS))
    one, other = (np.array([pair[side] for pair in pairs], int) for side in (0, 1))
    if "spearman" not in missing:
        alike = [(side[one] * side[other]).sum(axis=1) for side in (wanted, actual)]
        yield from filter(None, [ranks_of("spearman", alike[0], alike[1], "pairs")])
        yield from _graded(cases, alike[0], alike[1])
    few = len(rows) if cases.rankings else _MOST_TEXTS
    yield from _retrieved(cases, *(side[:few] @ side[:few].T for side in (wanted, actual)))


def of_scores(
    cases: Cases, rows: Sequence[Summary], *, independent: bool, missing: Container[str] = ()
) -> Iterator[Measured]:
    """Whether a reranker's scores keep their order, and where they put the right passage."""
    del independent
    reference, variant = (scores[:, 0] for scores in _stacked(rows))
    if "spearman" not in missing:
        yield from filter(None, [ranks_of("spearman", reference, variant, "rows")])
    if cases.rankings and "ndcg" not in missing:
        yield both_sides("ndcg", *(_gains(cases, scores) for scores in (variant, reference)))


def _stacked(rows: Sequence[Summary]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([row.reference for row in rows]), np.stack([row.variant for row in rows])


def _decided(logits: np.ndarray, *, independent: bool) -> np.ndarray:
    return logits > 0 if independent else metrics.decisions(logits)


def _equal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """1 for each row whose decisions are all equal; their mean is scikit-learn's `accuracy_score`."""
    same = one == other
    return (same if same.ndim == 1 else same.all(axis=1)).astype(float)  # type: ignore[no-any-return]


def _among(right: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """1 for each row whose right class has one of the five largest logits."""
    largest = np.argpartition(logits, -metrics.TOP, axis=-1)[:, -metrics.TOP :]
    return (largest == right[:, None]).any(axis=1).astype(float)  # type: ignore[no-any-return]


def _extreme(metric: str, values: np.ndarray, statistic: Any) -> Measured:
    """The worst row. It has no interval: resamples of rows say nothing about a worse one."""
    return Measured(metric=metric, value=float(statistic(values)), unit="rows", parts=(values,), statistic=None)


def _directions(vectors: np.ndarray) -> np.ndarray:
    """The vectors with length 1, so that a product of two is their cosine."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1.0, lengths)  # type: ignore[no-any-return]


def _all_pairs(count: int) -> list[tuple[int, int, float]]:
    """Pairs of neighbours at several distances, each text in ten of them at most."""
    return [(one, one + step, 0.0) for step in range(1, _NEAREST // 2 + 1) for one in range(count - step)]


def _graded(cases: Cases, wanted: np.ndarray, actual: np.ndarray) -> Iterator[Measured]:
    if not cases.pairs:
        return
    grades = np.array([grade for _, _, grade in cases.pairs])
    sides = [ranks_of("pair_spearman", grades, similar, "pairs") for similar in (actual, wanted)]
    if sides[0] is None or sides[1] is None:
        return
    yield _beside(sides[0], sides[1], grades, actual, wanted)


def _beside(
    variant: Measured, reference: Measured, grades: np.ndarray, actual: np.ndarray, wanted: np.ndarray
) -> Measured:
    rank = variant.statistic
    assert rank is not None, "BUG: a rank correlation has a statistic"
    return Measured(
        metric=variant.metric,
        value=variant.value,
        reference=reference.value,
        unit=variant.unit,
        parts=(grades, actual, wanted),
        statistic=lambda right, one, other, axis=-1: rank(right, one, axis=axis) - rank(right, other, axis=axis),
        own=(grades, actual),
        own_statistic=rank,
    )


def _retrieved(cases: Cases, wanted: np.ndarray, actual: np.ndarray) -> Iterator[Measured]:
    """Of the ten texts that are nearest to each query, or to each text, how many stay among the ten."""
    count = len(wanted)
    if cases.rankings:
        places = [(one.query, np.array(one.candidates)) for one in cases.rankings]
    else:
        places = [(text, np.delete(np.arange(count), text)) for text in range(count)]
    if not places or len(places[0][1]) <= _NEAREST:
        return
    shares = []
    for query, candidates in places:
        nearest = [set(np.argsort(-side[query, candidates], kind="stable")[:_NEAREST]) for side in (wanted, actual)]
        shares.append(len(nearest[0] & nearest[1]) / _NEAREST)
    yield mean_of("top10_overlap", shares, "queries")


def _gains(cases: Cases, scores: np.ndarray) -> list[float]:
    from sklearn.metrics import ndcg_score

    gains = []
    for ranking in cases.rankings:
        right = np.array([[float(place == ranking.right) for place in ranking.candidates]])
        gains.append(float(ndcg_score(right, scores[None, list(ranking.candidates)], k=_NEAREST)))
    return gains
