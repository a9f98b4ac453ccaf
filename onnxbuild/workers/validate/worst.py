"""The worst value of each metric over the outputs and samples of a validation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import Struct

from onnxbuild.tables.thresholds import METRICS, is_worse
from onnxbuild.workers.measuring import metrics
from onnxbuild.workers.validate.compare import Losses, Record

# Shares and means say little about a batch of one row, so they are taken over the rows of all samples.
_POOLED = frozenset({"top1", "top5", "kl_mean"})


class Worst(Struct, frozen=True, kw_only=True):
    """The value of a metric where it is worst, and a description of the place."""

    value: float
    where: str


def worst_of(records: Iterable[Record], text: Sequence[Losses]) -> dict[str, Worst]:
    """Each metric at its worst over outputs and samples (counts are pooled over samples first, see `_POOLED`)."""
    worst: dict[str, Worst] = {}
    listed = list(records)
    for metric, value, where in (*_single(listed), *_pooled(listed), *_ratios(text)):
        best = worst.get(metric)
        if best is None or is_worse(metric, value, best.value):
            worst[metric] = Worst(value=value, where=where)
    return {metric: worst[metric] for metric in METRICS if metric in worst}


def by_output(records: Iterable[Record]) -> dict[str, dict[str, float]]:
    """The worst value of each metric for each output (`stage/name`): the table of a report."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(f"{record.stage}/{record.output}", []).append(record)
    return {name: {m: w.value for m, w in worst_of(group, ()).items()} for name, group in groups.items()}


def _single(records: Iterable[Record]) -> Iterable[tuple[str, float, str]]:
    for record in records:
        for metric in record.values.keys() - _POOLED:
            yield metric, record.values[metric], f"output `{record.output}`, {record.where}"


def _pooled(records: Iterable[Record]) -> Iterable[tuple[str, float, str]]:
    sums: dict[tuple[str, str, str], tuple[float, int]] = {}
    for record in records:
        for metric in record.values.keys() & _POOLED:
            key = (metric, record.stage, record.output)
            total, rows = sums.get(key, (0.0, 0))
            sums[key] = (total + record.values[metric] * record.rows, rows + record.rows)
    for (metric, stage, output), (total, rows) in sums.items():
        yield metric, total / rows, f"output `{output}` of {stage}, {rows} rows"


def _ratios(text: Sequence[Losses]) -> Iterable[tuple[str, float, str]]:
    for stage in dict.fromkeys(part.stage for part in text):
        reference = np.concatenate([part.reference for part in text if part.stage == stage])
        variant = np.concatenate([part.variant for part in text if part.stage == stage])
        ratio = metrics.perplexity_ratio(reference, variant)
        yield "perplexity_ratio", ratio, f"output `logits` of {stage}, {len(reference)} tokens"
