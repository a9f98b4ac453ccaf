"""What the table at the end of a run takes from facts: one row a variant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.execute.events import Outcome
from onnxbuild.plan.graph import ActionGraph, Variant

# The metric that a table shows, the most telling of those that a validation measured.
_TELLING: Mapping[str, str] = {
    "cosine_mean": "cosine",
    "top1": "top-1",
    "perplexity_ratio": "perplexity ×",  # noqa: RUF001 - "times" as it is printed
    "max_abs": "max diff",
}


class Row(Struct, frozen=True, kw_only=True):
    """One variant as far as it was measured; None stands for what was not."""

    name: str
    size_bytes: int | None = None
    metric: str | None = None
    accuracy: float | None = None
    failed: bool = False
    latency_ms: float | None = None
    baseline_ms: float | None = None
    speedup: float | None = None
    contended: bool = False
    tokens_per_second: float | None = None
    first_token_ms: float | None = None
    generation_speedup: float | None = None


def rows(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> tuple[Row, ...]:
    """A row for each variant, in the order of the manifest."""
    return tuple(_row(variant, outcomes) for variant in graph.variants)


def metrics_of(outcome: Outcome) -> Mapping[str, Any]:
    """The metrics that a validation measured, whether it passed or failed."""
    facts = outcome.failure.facts if outcome.failure else outcome.facts
    metrics = facts.get("metrics")
    return metrics if isinstance(metrics, Mapping) else {}


def _row(variant: Variant, outcomes: Mapping[str, Outcome]) -> Row:
    checks = [outcomes[name] for name in variant.checks if name in outcomes]
    metrics = next((m for check in checks if (m := metrics_of(check))), {})
    metric = next((name for name in _TELLING if _number(metrics.get(name)) is not None), None)
    measured = _facts(variant.measures, outcomes, "benchmark").get("headline") or {}
    generated = _facts(variant.measures, outcomes, "generate").get("headline") or {}
    return Row(
        name=variant.name,
        size_bytes=_size(variant, outcomes),
        metric=_TELLING.get(metric or ""),
        accuracy=_number(metrics.get(metric)) if metric else None,
        failed=any(check.outcome == "failed" for check in checks),
        latency_ms=_number(measured.get("p50_ms")),
        baseline_ms=_number(measured.get("baseline_p50_ms")),
        speedup=_number(measured.get("speedup")),
        contended=bool(measured.get("contended") or generated.get("contended")),
        tokens_per_second=_number(generated.get("tokens_per_second")),
        first_token_ms=_number(generated.get("first_token_ms")),
        generation_speedup=_number(generated.get("speedup")),
    )


def _facts(actions: Iterable[str], outcomes: Mapping[str, Outcome], kind: str) -> Mapping[str, Any]:
    found = (outcomes[name].facts for name in actions if name in outcomes and outcomes[name].kind == kind)
    return next((facts for facts in found if facts), {})


def _size(variant: Variant, outcomes: Mapping[str, Outcome]) -> int | None:
    outcome = outcomes.get(variant.output.action)
    size = _number(outcome.facts.get("size_bytes")) if outcome else None
    return None if size is None else int(size)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
