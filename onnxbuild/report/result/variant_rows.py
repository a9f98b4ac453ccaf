"""What the table at the end of a run takes from facts: one row a variant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.tables.thresholds import is_within

# The metric that a table shows: the first of these that is bounded, or else the first of the others that was measured.
# What a task is judged by at one precision it is shown by at all, so that a column can be compared.
_JUDGED_BY: Mapping[str, str] = {"perplexity_ratio": "perplexity ×", "top1": "top-1"}
_OTHERWISE: Mapping[str, str] = {"cosine_mean": "cosine", "max_abs": "max diff"}


class Row(Struct, frozen=True, kw_only=True):
    """One variant as far as it was measured; None stands for what was not."""

    name: str
    size_bytes: int | None = None
    metric: str | None = None
    accuracy: float | None = None
    verdict: Literal["passed", "warned", "failed"] = "passed"
    latency_ms: float | None = None
    baseline_ms: float | None = None
    speedup: float | None = None
    contended: bool = False
    tokens_per_second: float | None = None
    baseline_tokens_per_second: float | None = None
    first_token_ms: float | None = None
    generation_speedup: float | None = None


def rows(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> tuple[Row, ...]:
    """A row for each variant, in the order of the manifest."""
    return tuple(_row(variant, outcomes) for variant in graph.variants)


def metrics_of(outcome: Outcome) -> Mapping[str, Any]:
    """The metrics that a validation measured, whether it passed or failed."""
    return _mapping(_all_facts(outcome).get("metrics"))


def broken_metric(outcome: Outcome) -> str | None:
    """The first metric of a validation that is outside its bound; NaN is outside of every bound."""
    measured = metrics_of(outcome)
    for metric, bound in _mapping(_all_facts(outcome).get("thresholds")).items():
        value = _number(measured.get(metric))
        if value is not None and not is_within(metric, value, bound):
            return str(metric)
    return None


def _all_facts(outcome: Outcome) -> Mapping[str, Any]:
    return outcome.failure.facts if outcome.failure else outcome.facts


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _row(variant: Variant, outcomes: Mapping[str, Outcome]) -> Row:
    checks = [outcomes[name] for name in variant.checks if name in outcomes]
    label, accuracy = next((told for check in checks if (told := _accuracy(check))), (None, None))
    measured = _mapping(_facts(variant.measures, outcomes, "benchmark").get("headline"))
    generated = _facts(variant.measures, outcomes, "generate")
    engines = _mapping(generated.get("engines"))
    engine, baseline = _mapping(engines.get("onnxruntime")), _mapping(engines.get("torch"))
    return Row(
        name=variant.name,
        size_bytes=_size(variant, outcomes),
        metric=label,
        accuracy=accuracy,
        verdict=_verdict(checks),
        latency_ms=_number(measured.get("p50_ms")),
        baseline_ms=_number(measured.get("baseline_p50_ms")),
        speedup=_number(measured.get("speedup")),
        contended=bool(measured.get("contended")),
        tokens_per_second=_median(engine.get("tokens_per_second")),
        baseline_tokens_per_second=_median(baseline.get("tokens_per_second")),
        first_token_ms=_median(engine.get("time_to_first_token_ms")),
        generation_speedup=_median(generated.get("speedup")),
    )


def _facts(actions: Iterable[str], outcomes: Mapping[str, Outcome], kind: str) -> Mapping[str, Any]:
    found = (outcomes[name].facts for name in actions if name in outcomes and outcomes[name].kind == kind)
    return next((facts for facts in found if facts), {})


def _accuracy(check: Outcome) -> tuple[str, float] | None:
    """The metric to show and its value: the share of right labels where a dataset has them."""
    right = _number(_mapping(_all_facts(check).get("dataset")).get("accuracy"))
    if right is not None:
        return "labels right", right
    metrics = metrics_of(check)
    bounded = _mapping(_all_facts(check).get("thresholds"))
    names = {name: label for name, label in _JUDGED_BY.items() if name in bounded} | dict(_OTHERWISE)
    return next(((label, v) for name, label in names.items() if (v := _number(metrics.get(name))) is not None), None)


def _verdict(checks: Iterable[Outcome]) -> Literal["passed", "warned", "failed"]:
    checks = list(checks)
    if any(check.outcome == "failed" for check in checks):
        return "failed"
    return "warned" if any(check.facts.get("passed") is False for check in checks) else "passed"


def _size(variant: Variant, outcomes: Mapping[str, Outcome]) -> int | None:
    """Bytes of the graphs and their weights, without tokenizer and configs."""
    facts = outcomes[variant.output.action].facts if variant.output.action in outcomes else {}
    files = [_number(_mapping(file).get("bytes")) for file in _mapping(facts.get("files")).values()]
    sizes = [size for size in files if size is not None]
    total = sum(sizes) if sizes and len(sizes) == len(files) else _number(facts.get("bytes"))
    return None if total is None else int(total)


def _median(spread: Any) -> float | None:
    return _number(_mapping(spread).get("median"))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
