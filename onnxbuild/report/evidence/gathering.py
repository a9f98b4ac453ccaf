"""Evidence from the outcomes of a build."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, structs

from onnxbuild.deliver.best_variant import choice_rows
from onnxbuild.deliver.compiled_states import stand_in
from onnxbuild.deliver.package_rows import package_rows
from onnxbuild.deliver.variant_rows import Row, judged_metrics, own_engine, rows
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.report.evidence.evidence import Check, Evidence, Measurement, RanAs, Step, VariantEvidence
from onnxbuild.report.evidence.throughputs import Spread, ratios_of, throughputs_of
from onnxbuild.report.value_intervals import OVER_ROWS, intervals_of, measured_on
from onnxbuild.store.traces import Trace
from onnxbuild.tables.thresholds import side_of
from onnxbuild.version import __version__

Find = Callable[[str], Trace | None]

_NUMBERS = ("p50_ms", "p90_ms", "p99_ms", "mean_ms", "min_ms", "max_ms", "stdev_ms", "samples_per_second")


def gather(
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    find: Find,
    *,
    source: str,
    ended: float | None,
    outdated: Mapping[str, str] | None = None,
) -> Evidence:
    """The evidence of every variant of a graph; `find` gives the trace of a key.

    `outdated`: the variants with results of an earlier manifest, each with what has changed.
    """
    pairs = zip(graph.variants, rows(graph, outcomes), strict=True)
    variants = (_variant(variant, row, graph, outcomes, find) for variant, row in pairs)
    old = outdated or {}
    return Evidence(
        onnxbuild=__version__,
        source=source,
        ended=ended,
        variants=tuple(structs.replace(one, outdated=old.get(one.name, "")) for one in variants),
        choices=choice_rows(graph, outcomes),
        built_packages=package_rows(graph, outcomes),
    )


def _variant(
    variant: Variant, row: Row, graph: ActionGraph, outcomes: Mapping[str, Outcome], find: Find
) -> VariantEvidence:
    names = [name for name in variant.members if name in outcomes]
    steps = tuple(_step(outcomes[name], graph.actions[name].params, find) for name in names)
    checks = tuple(check for name in variant.checks if name in outcomes for check in checks_of(outcomes[name]))
    measures = [outcomes[name] for name in variant.measures if name in outcomes]
    return VariantEvidence(
        model=variant.model,
        target=variant.target,
        precision=variant.precision,
        row=row,
        checks=checks,
        measurements=tuple(one for outcome in measures for one in measurements_of(outcome)),
        throughputs=tuple(one for outcome in measures for one in throughputs_of(outcome)),
        steps=steps,
    )


def _step(outcome: Outcome, params: Mapping[str, Any], find: Find) -> Step:
    trace = find(outcome.key) if outcome.key else None
    parts = trace.parts if trace is not None else {}
    failure = outcome.failure
    return Step(
        id=outcome.id,
        kind=outcome.kind,
        outcome=outcome.outcome,
        seconds=trace.seconds if trace is not None else outcome.seconds or None,
        params=parts.get("params", params),  # what the result was made with, where the manifest has been edited
        packages=parts.get("packages") or {},
        toolchain=parts.get("toolchain") or {},
        machine=parts.get("machine"),
        key=outcome.key,
        facts=failure.facts if failure is not None else outcome.facts,
        failure=f"{failure.code} {failure.message}" if failure is not None else None,
    )


def checks_of(outcome: Outcome) -> Iterator[Check]:
    """Every metric that a validation measured."""
    facts = outcome.failure.facts if outcome.failure is not None else outcome.facts
    places, intervals = facts.get("worst_at") or {}, facts.get("intervals") or {}
    for name, metric in judged_metrics(outcome).items():
        interval, rows = _pair(intervals.get(name)), measured_on(name, str(places.get(name, "")))
        known = intervals_of(name, metric.value, interval, facts, rows[0] if rows else None)
        yield Check(
            action=outcome.id,
            metric=name,
            value=metric.value,
            bound=metric.bound,
            side=side_of(name),
            passed=metric.passed,
            data=_data_of(name, facts, rows),
            worst_at=str(places.get(name, "")),
            interval=interval,
            value_interval=known.value,
            difference_interval=known.difference,
            measured_on=f"{rows[0]} {rows[1]}" if rows else "",
            ran_on=stand_in(facts),
        )


def _pair(interval: Any) -> tuple[float, float] | None:
    """The ends of an interval; None if they are not two numbers."""
    if not isinstance(interval, list | tuple) or not all(isinstance(end, int | float) for end in interval):
        return None
    return (float(interval[0]), float(interval[1])) if len(interval) == 2 else None  # noqa: PLR2004 - its two ends


def _data_of(metric: str, facts: Mapping[str, Any], measured: tuple[int, str] | None) -> str:
    """What both models read for a metric: rows for those over rows, and batches of samples for the others.

    `measured`: how many it was measured on, which are fewer where not every row has a label.
    """
    rows = facts.get("rows") or {}
    if metric in OVER_ROWS and rows:
        count, unit = measured or (rows.get("count"), "rows")
        return _data({unit: count, "text": rows.get("name")}, unit)
    return _data(facts.get("samples") or {})


def _data(samples: Mapping[str, Any], unit: str = "rows") -> str:
    """`46 rows, 924 tokens: sentences`."""
    counts = [f"{samples[name]} {name}" for name in (unit, "tokens") if samples.get(name)]
    return ": ".join(part for part in (", ".join(counts), str(samples.get("text") or "")) if part)


class _Series(Struct, frozen=True, kw_only=True):
    """What was measured of one engine. JSON has null for NaN, and results of earlier versions lack some figures."""

    n: int = 0
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    stdev_ms: float | None = None
    samples_per_second: float | None = None
    tokens_per_second: float | None = None
    contended: bool = False


class _Result(Struct, frozen=True, kw_only=True):
    """One configuration."""

    stage: str
    batch: int
    sequence: int
    threads: int
    past: int | None = None
    engines: dict[str, _Series]
    speedup: dict[str, Spread] = {}
    ran_as: RanAs | None = None


def measurements_of(outcome: Outcome) -> Iterator[Measurement]:
    """Every engine in every configuration that a benchmark measured; what is no such result has none."""
    results = outcome.facts.get("results") if outcome.kind == "benchmark" else None
    for result in results if isinstance(results, list | tuple) else ():
        with contextlib.suppress(msgspec.ValidationError):
            yield from _measurements(outcome, msgspec.convert(result, _Result))


def _measurements(outcome: Outcome, result: _Result) -> Iterator[Measurement]:
    own = own_engine(outcome.facts)
    ratios = ratios_of(result.speedup)
    for engine, series in result.engines.items():
        values = ((name, getattr(series, name)) for name in _NUMBERS)
        yield Measurement(
            action=outcome.id,
            engine=engine,
            stage=result.stage,
            batch=result.batch,
            sequence=result.sequence,
            threads=result.threads,
            past=result.past or 0,
            calls=series.n,
            tokens_per_second=series.tokens_per_second,
            contended=series.contended,
            own=engine == own,
            ratios=ratios if engine == own else (),
            ran_as=result.ran_as if engine == own else None,
            ran_on=stand_in(outcome.facts) if engine == own else "",
            **{name: math.nan if value is None else value for name, value in values},
        )
