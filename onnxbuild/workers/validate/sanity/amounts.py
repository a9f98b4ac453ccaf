"""Whether outputs have the size of the reference's: vectors their length, labels their probability, scores their range.

The default bounds of quantized variants are cosines and shares of equal decisions. A cosine stays 1 where all vectors
are multiplied by a number, for example without the last normalization. The largest logit stays the largest where all
logits are multiplied by a number, or where one number is added to all of them, which turns every independent label off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxbuild.tables.thresholds import OF_VECTORS, judged_as
from onnxbuild.workers.measuring import metrics

if TYPE_CHECKING:
    from onnxbuild.workers.validate.compare import Record

CODE = "OBE145"

# Keys of a record's values; they are no metrics of the manifest, so a report does not list them.
ENERGY, REFERENCE_ENERGY, PROBABILITY = "energy", "reference_energy", "probability_error"

# Noise that leaves a cosine of 0.94, the lowest default bound, lengthens a vector by 6 %.
_MOST_LENGTH = {"fp16": 0.02, "bf16": 0.05}
_MOST_LENGTH_QUANTIZED = 0.15
# A classifier with 3 % other labels moves the probabilities by 0.02 to 0.05; a lost factor or bias by 0.3 and more.
_MOST_PROBABILITY = 0.2
# A constant explains none of the differences between the reference's scores, int8 some 0.98. With random weights, whose
# scores lie close together, NF4 explains 0.18.
_LEAST_EXPLAINED = {"q4": 0.25, "bnb4": 0.0}
_LEAST_EXPLAINED_OTHERWISE = 0.5

# Whoever bounds one of these has decided on the size of the output.
_OF_LENGTH = frozenset({"max_abs", "mean_abs"})
_OF_PROBABILITY = _OF_LENGTH | {"max_probability", "mean_probability", "row_probability_mean", "row_probability_max"}
_OF_SCORES = _OF_PROBABILITY | {"spearman", "ndcg"}


def energies(reference: np.ndarray, variant: np.ndarray) -> dict[str, float]:
    """The mean square of the elements of both sides."""
    pairs = ((REFERENCE_ENERGY, reference), (ENERGY, variant))
    return {name: float(np.mean(np.square(side, dtype=np.float64))) for name, side in pairs}


def probability_error(reference: np.ndarray, variant: np.ndarray, *, independent: bool) -> dict[str, float]:
    """The mean over rows of the largest difference of a probability; nothing for a single logit, which is a score."""
    if reference.shape[-1] == 1:
        return {}
    sides = [metrics.probabilities(side, independent=independent) for side in (reference, variant)]
    return {PROBABILITY: float(np.abs(sides[0] - sides[1]).max(axis=-1).mean())}


def other_amounts(
    records: Iterable[Record], scores: Sequence[Any], *, table: str, precision: str, written: Collection[str]
) -> Iterator[tuple[str, str]]:
    """The code and a message for each output of another size. `scores`: the summaries of rows of a single logit.

    `written`: the metrics that the manifest bounds.
    """
    pooled = _pooled(records)
    if table == OF_VECTORS and not _OF_LENGTH & set(written):
        yield from _other_lengths(pooled, _MOST_LENGTH.get(judged_as(precision), _MOST_LENGTH_QUANTIZED))
    if not _OF_PROBABILITY & set(written):
        yield from _other_probabilities(pooled)
    if not _OF_SCORES & set(written):
        yield from _other_scores(scores, _LEAST_EXPLAINED.get(judged_as(precision), _LEAST_EXPLAINED_OTHERWISE))


def _other_lengths(pooled: Mapping[str, Mapping[str, float]], most: float) -> Iterator[tuple[str, str]]:
    for output, values in pooled.items():
        if not values.get(REFERENCE_ENERGY):
            continue
        ratio = (values[ENERGY] / values[REFERENCE_ENERGY]) ** 0.5
        if not abs(ratio - 1) <= most:
            what = f"the vectors of {output} are {ratio:.3g} times as long as the reference's"
            yield CODE, f"{what}: a normalization or a factor is missing (at most {most:.0%} is accepted)"


def _other_probabilities(pooled: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, str]]:
    for output, values in pooled.items():
        error = values.get(PROBABILITY, 0.0)
        if not error <= _MOST_PROBABILITY:
            what = f"the probability of a label of {output} differs by {error:.3g} on average"
            yield CODE, f"{what}: a factor or a bias is another (at most {_MOST_PROBABILITY:g} is accepted)"


def _other_scores(rows: Sequence[Any], least: float) -> Iterator[tuple[str, str]]:
    """For a single logit: whether it follows the reference's better than a constant does, after the share explained."""
    sides = [np.array([side[0] for side in both], np.float64) for both in zip(*map(_one_logit, rows), strict=True)]
    if not sides or (spread := float(np.var(sides[0]))) < _NO_SPREAD:
        return
    explained = 1 - float(np.mean(np.square(sides[1] - sides[0]))) / spread
    if not explained >= least:
        what = f"the scores explain {max(explained, 0):.0%} of the differences between the reference's"
        yield CODE, f"{what} ({len(rows)} rows): at least {least:.0%} is expected"


_NO_SPREAD = 1e-8


def _one_logit(row: Any) -> tuple[np.ndarray, np.ndarray]:
    return row.reference, row.variant


def _pooled(records: Iterable[Record]) -> dict[str, dict[str, float]]:
    """The mean over the rows of all samples, by output. A past is no output that a user sees."""
    sums: dict[str, dict[str, list[float]]] = {}
    for record in records:
        if record.output.startswith("present."):
            continue
        values = sums.setdefault(f"`{record.output}`", {})
        for name in (ENERGY, REFERENCE_ENERGY, PROBABILITY):
            if name in record.values:
                total = values.setdefault(name, [0.0, 0])
                total[0] += record.values[name] * record.rows
                total[1] += record.rows
    return {output: {name: total / rows for name, (total, rows) in of.items()} for output, of in sums.items()}
