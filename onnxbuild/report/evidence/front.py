"""Which variants are worth a choice: those that no other one beats in both speed and accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from onnxbuild.deliver.variant_rows import Metric
from onnxbuild.report.evidence.evidence import VariantEvidence

# The metric that stands for accuracy, the first that all variants of a model have.
_METRICS = ("cosine_mean", "kl_mean", "perplexity_ratio", "top1", "max_probability", "max_abs")
_IDEAL = {"cosine_mean": 1.0, "top1": 1.0, "perplexity_ratio": 1.0}
_WORDS = {
    "cosine_mean": "1 - mean cosine",
    "kl_mean": "mean KL divergence, in nats",
    "perplexity_ratio": "perplexity ratio - 1",
    "top1": "share of rows with another largest logit",
    "max_probability": "largest difference of a probability",
    "max_abs": "largest absolute difference",
}


ROUNDING = 1e-7  # a deviation up to this is rounding of fp32
_EQUAL = 0.05


class Point(NamedTuple):
    """A variant by what it costs: milliseconds per call or per token, and its deviation from the reference."""

    name: str
    milliseconds: float
    deviation: float
    contended: bool = False


class Tradeoff(NamedTuple):
    """The variants of one model that have both figures. `front`: the names that no other variant beats in both.

    A variant that failed, or whose results are of an earlier manifest, is no choice, and beats no other one.
    """

    model: str
    metric: str
    words: str
    unit: str
    points: tuple[Point, ...]
    front: frozenset[str]


def tradeoffs(variants: Sequence[VariantEvidence]) -> list[Tradeoff]:
    """One per model that has at least two variants with both figures."""
    models = dict.fromkeys(variant.model for variant in variants)
    found = (_tradeoff(model, [variant for variant in variants if variant.model == model]) for model in models)
    return [one for one in found if one is not None]


def _tradeoff(model: str, variants: Sequence[VariantEvidence]) -> Tradeoff | None:
    measured = [(variant, cost) for variant in variants if (cost := _cost(variant)) is not None]
    measured = [(variant, cost) for variant, cost in measured if math.isfinite(cost[0])]
    shared = (name for name in _METRICS if all(name in variant.row.metrics for variant, _ in measured))
    metric = next(shared, None)
    if metric is None or len(measured) < 2:  # noqa: PLR2004 - one point is no choice
        return None
    points = tuple(
        Point(variant.name, cost[0], _deviation(metric, variant.row.metrics[metric]), variant.row.contended)
        for variant, cost in measured
        if math.isfinite(variant.row.metrics[metric].value)
    )
    out = {variant.name for variant, _ in measured if variant.has_failed or variant.outdated}
    front = front_of(point for point in points if point.name not in out)
    return Tradeoff(model, metric, _WORDS[metric], measured[0][1][1], points, front) if points else None


def front_of(points: Iterable[Point]) -> frozenset[str]:
    """The names of the points that no other point beats: as fast and as accurate, and better in one of them."""
    points = list(points)
    return frozenset(one.name for one in points if not any(_beats(other, one) for other in points))


def _beats(one: Point, other: Point) -> bool:
    """Latencies within 5 % of each other are equal, and so are deviations that are only rounding of fp32."""
    faster = one.milliseconds < other.milliseconds * (1 - _EQUAL)
    nearer = one.deviation < other.deviation and other.deviation > ROUNDING
    slower = one.milliseconds * (1 - _EQUAL) > other.milliseconds
    farther = one.deviation > other.deviation and one.deviation > ROUNDING
    return (faster or nearer) and not slower and not farther


def _cost(variant: VariantEvidence) -> tuple[float, str] | None:
    row = variant.row
    if row.latency_ms is not None:
        return row.latency_ms, "latency p50, in ms"
    return (1000 / row.tokens_per_second, "ms per token") if row.tokens_per_second else None


def _deviation(metric: str, measured: Metric) -> float:
    return max(0.0, abs(_IDEAL[metric] - measured.value) if metric in _IDEAL else measured.value)
