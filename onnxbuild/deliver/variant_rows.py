"""The result of a build as data: one row per variant, taken from the facts of its actions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct

from onnxbuild.deliver.compiled_states import is_double, is_emulated, skipped_checks, state_of
from onnxbuild.deliver.package_rows import skipped_because
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.steps.checks.load_check import LOAD
from onnxbuild.tables.thresholds import is_within

ACCURACY = "accuracy"  # the share of right labels, if a dataset has labels
_DROP = "accuracy_drop"
_OWN_ENGINE = "onnxruntime"

_NOTED = 0.05  # the share by which a speed-up may differ from the ratio of the medians beside it without a note

Verdict = Literal["passed", "warned", "failed"]


class Metric(Struct, frozen=True, kw_only=True):
    """One measured metric of a validation; `bound` is None if the validation does not judge by it."""

    value: float
    bound: float | None = None
    passed: bool = True


class Row(Struct, frozen=True, kw_only=True):
    """One variant as far as it was measured; None means not measured.

    `verdict` is None if the variant was not validated. Sizes are in bytes, latencies in milliseconds per run.
    `texts_per_second`: in the fastest setting of `throughput:`, of its first set of texts.
    `state`: how far a compiled variant has come; `skipped`: what its checks lack here.
    `double_…`: what a host double of the device took, which says nothing about the device.
    `is_as_fast`: the range of a speed-up over the rounds includes 1, so that no difference was shown.
    """

    name: str
    size_bytes: int | None = None
    metrics: Mapping[str, Metric] = {}
    verdict: Verdict | None = None
    latency_ms: float | None = None
    baseline_ms: float | None = None
    speedup: float | None = None
    is_as_fast: bool = False
    contended: bool = False
    texts_per_second: float | None = None
    tokens_per_second: float | None = None
    baseline_tokens_per_second: float | None = None
    first_token_ms: float | None = None
    generation_speedup: float | None = None
    generates_as_fast: bool = False
    state: str | None = None
    skipped: str | None = None
    double_first_token_ms: float | None = None
    double_tokens_per_second: float | None = None


def rows(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> tuple[Row, ...]:
    """One row per variant of the graph, in the order of the manifest."""
    return tuple(_row(variant, outcomes) for variant in graph.variants)


def is_uneven(speedup: float | None, above: float | None, below: float | None) -> bool:
    """Whether a speed-up, the median over rounds, contradicts the ratio of two medians over all calls."""
    if not speedup or above is None or not below:
        return False
    return abs(above / below / speedup - 1) > _NOTED


def metrics_of(outcome: Outcome) -> Mapping[str, Any]:
    """The metrics that a validation measured, whether it passed or failed."""
    return _mapping(_all_facts(outcome).get("metrics"))


def broken_metrics(outcome: Outcome) -> Mapping[str, Metric]:
    """The metrics of a validation that are outside their bounds; NaN is outside of every bound."""
    return {name: metric for name, metric in judged_metrics(outcome).items() if not metric.passed}


def judged_metrics(outcome: Outcome) -> Mapping[str, Metric]:
    """Every metric of a validation, with its bound if it has one."""
    bounds = _mapping(_all_facts(outcome).get("thresholds"))
    values = {**metrics_of(outcome), **_of_dataset(outcome)}
    measured = {name: number for name, value in values.items() if (number := _number(value)) is not None}
    return {name: _metric(name, value, _number(bounds.get(name))) for name, value in measured.items()}


def _metric(name: str, value: float, bound: float | None) -> Metric:
    if bound is None:
        return Metric(value=value)
    return Metric(value=value, bound=bound, passed=is_within(name, value, bound))


def _of_dataset(outcome: Outcome) -> Mapping[str, Any]:
    """The share of right labels, with which `accuracy_drop` is shown."""
    dataset = _mapping(_all_facts(outcome).get("dataset"))
    return {ACCURACY: dataset["accuracy"]} if "accuracy" in dataset else {}


def _all_facts(outcome: Outcome) -> Mapping[str, Any]:
    return outcome.failure.facts if outcome.failure else outcome.facts


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _row(variant: Variant, outcomes: Mapping[str, Outcome]) -> Row:
    checks = [outcomes[name] for name in variant.checks if name in outcomes and _compares(outcomes[name])]
    unproven = [outcomes[name] for name in variant.proofs if name in outcomes and outcomes[name].outcome == "failed"]
    timed = _facts(variant.measures, outcomes, "benchmark")
    measured = {} if is_double(timed) or is_emulated(timed) else timed  # their times are none of the device
    benchmark = _mapping(measured.get("headline"))
    ran = _facts(variant.measures, outcomes, "generate")
    generated = {} if is_double(ran) else ran  # a host double is no measurement of what it stands for
    double = _mapping(ran.get("latency")) if is_double(ran) else {}
    first = _number(double.get("time_to_first_token_seconds"))
    engines = _mapping(generated.get("engines"))
    engine, baseline = _mapping(engines.get(own_engine(generated))), _mapping(engines.get("torch"))
    return Row(
        name=variant.name,
        size_bytes=_size(variant, outcomes),
        metrics=next((metrics for check in checks if (metrics := judged_metrics(check))), {}),
        verdict=_verdict([*unproven, *checks]),
        latency_ms=_number(benchmark.get("p50_ms")),
        baseline_ms=_number(benchmark.get("baseline_p50_ms")),
        speedup=_number(benchmark.get("speedup")),
        is_as_fast=_includes_one(_first_speedups(measured).get(benchmark.get("baseline"))),
        contended=bool(benchmark.get("contended")),
        texts_per_second=_fastest(measured),
        tokens_per_second=_median(engine.get("tokens_per_second")),
        baseline_tokens_per_second=_median(baseline.get("tokens_per_second")),
        first_token_ms=_median(engine.get("time_to_first_token_ms")),
        generation_speedup=_median(generated.get("speedup")),
        generates_as_fast=_includes_one(generated.get("speedup")),
        state=state_of(variant, outcomes),
        skipped=skipped_checks(variant, outcomes) if variant.backend else None,
        double_first_token_ms=None if first is None else 1000 * first,
        double_tokens_per_second=_number(double.get("decode_tokens_per_second")),
    )


def own_engine(facts: Mapping[str, Any]) -> str:
    """The name of the engine that ran the variant itself, beside its baselines."""
    name = _mapping(facts.get("headline")).get("engine")
    return name if isinstance(name, str) else _OWN_ENGINE


def _fastest(benchmark: Mapping[str, Any]) -> float | None:
    """Texts per second of the variant itself in its fastest setting, of the first set of texts."""
    best = _mapping(benchmark.get("throughput")).get("best")
    entries = (_mapping(one) for one in (best if isinstance(best, list | tuple) else ()))
    own = own_engine(benchmark)
    return next((_number(one.get("texts_per_second")) for one in entries if one.get("engine") == own), None)


def _first_speedups(benchmark: Mapping[str, Any]) -> Mapping[Any, Any]:
    """The ratios to each baseline in the configuration of the headline, the first."""
    results = benchmark.get("results")
    first = results[0] if isinstance(results, list | tuple) and results else None
    return _mapping(_mapping(first).get("speedup"))


def _includes_one(spread: Any) -> bool:
    least, most = (_number(_mapping(spread).get(end)) for end in ("min", "max"))
    return least is not None and most is not None and least <= 1 <= most


def _compares(check: Outcome) -> bool:
    """Whether a check says something about the numbers: that a variant loads is no validation, that it fails is."""
    return check.kind != LOAD.name or check.outcome == "failed"


def _facts(actions: Iterable[str], outcomes: Mapping[str, Outcome], kind: str) -> Mapping[str, Any]:
    facts = (outcomes[name].facts for name in actions if name in outcomes and outcomes[name].kind == kind)
    return next((one for one in facts if one), {})


def _verdict(checks: Iterable[Outcome]) -> Verdict | None:
    ended = [one for one in checks if one.outcome == "failed" or (one.facts and skipped_because(one) is None)]
    if any(check.outcome == "failed" for check in ended):
        return "failed"
    if any(check.facts.get("passed") is False for check in ended):
        return "warned"
    return "passed" if ended else None


def _size(variant: Variant, outcomes: Mapping[str, Outcome]) -> int | None:
    """Bytes of the graphs and their weights, without tokenizer and configs."""
    facts = outcomes[variant.output.action].facts if variant.output.action in outcomes else {}
    files = [_number(_mapping(file).get("bytes")) for file in _mapping(facts.get("files")).values()]
    sizes = [size for size in files if size is not None]
    total = sum(sizes) if sizes and len(sizes) == len(files) else _number(facts.get("bytes"))
    return int(total) if total is not None and math.isfinite(total) else None


def _median(spread: Any) -> float | None:
    return _number(_mapping(spread).get("median"))


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON has integers of any size
        return None
