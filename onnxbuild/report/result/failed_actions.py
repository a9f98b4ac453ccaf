"""Each failed action as a diagnostic: its place, why it ran, what broke it, how to accept it, how to repeat it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal

from onnxbuild.deliver.variant_rows import Metric, broken_metrics, metrics_of
from onnxbuild.diagnostics import Diagnostic
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.report.result.figures import significant
from onnxbuild.report.result.reasons import NEVER_BUILT, why
from onnxbuild.report.wording import path_from_here
from onnxbuild.tables.thresholds import side_of

# Significant digits of a bound that is offered: of an upper bound, and of the distance of a lower bound from 1.
_DIGITS, _DIGITS_FROM_ONE = 3, 2


def failures(
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    *,
    manifest: str | None = None,
    options: Sequence[str] = (),
) -> tuple[Diagnostic, ...]:
    """A diagnostic per failed action. `manifest` and `options` are those of the run, for the command to repeat it."""
    failed = (outcome for outcome in outcomes.values() if outcome.outcome == "failed")
    return tuple(_failure(outcome, graph, outcomes, _again(outcome, manifest, options)) for outcome in failed)


def _again(outcome: Outcome, manifest: str | None, options: Sequence[str]) -> str | None:
    """The command that runs one action again, quoted for a shell."""
    return None if manifest is None else shlex.join(["onnxbuild", "run", manifest, outcome.id, *options])


def _failure(outcome: Outcome, graph: ActionGraph, outcomes: Mapping[str, Outcome], again: str | None) -> Diagnostic:
    failure, action = outcome.failure, graph.actions.get(outcome.id)
    return Diagnostic(
        code=failure.code if failure else "OBE99",
        message=failure.message if failure else "the step gave no reason",
        span=action.span if action else None,
        subject=outcome.id,
        notes=tuple(_notes(outcome, graph, outcomes, again)),
    )


def _notes(
    outcome: Outcome, graph: ActionGraph, outcomes: Mapping[str, Outcome], again: str | None
) -> list[tuple[str, str]]:
    notes: list[tuple[str, str]] = []
    reasons = [words for words in why(outcome, graph, outcomes) if words != NEVER_BUILT]
    if reasons:
        notes.append(("ran because", "; ".join(reasons)))
    if breaker := first_step_that_breaks(outcome, graph, outcomes):
        notes.append(("first step that breaks it", breaker))
    notes += outcome.failure.notes if outcome.failure else ()
    if accepting := how_to_accept(outcome, graph):
        notes.append(("accept", accepting))
    if outcome.log:
        notes.append(("log", path_from_here(outcome.log)))
    if again:
        notes.append(("again", again))
    return notes


def how_to_accept(outcome: Outcome, graph: ActionGraph) -> str | None:
    """The YAML that makes a failed validation pass for its target alone; None if no bound was broken.

    None also where the cause is known: a comparison with random values is noise, which no bound makes acceptable; and
    where the variant holds in part, which `max_length` accepts.
    """
    failure = outcome.failure
    if failure is not None and (failure.code == "OBE86" or any(label == "cause" for label, _ in failure.notes)):
        return None
    variant = next((one for one in graph.variants if outcome.id in one.checks), None)
    broken = broken_metrics(outcome)
    if variant is None or not broken or not all(math.isfinite(metric.value) for metric in broken.values()):
        return None
    bounds = ", ".join(f"{name}: {accepting_bound(name, metric):f}" for name, metric in broken.items())
    lines = [
        f"if this difference is acceptable for `{variant.target}`, add to that target",
        "targets:",
        f"  {variant.target}:",
        f"    validate: {{thresholds: {{{bounds}}}}}",
    ]
    return "\n".join(lines)


def accepting_bound(name: str, metric: Metric) -> Decimal:
    """The next round bound that the measured value passes."""
    value = Decimal(metric.value)
    if side_of(name) == "min":  # these metrics are at most 1
        return (1 - _rounded(1 - value, _DIGITS_FROM_ONE, ROUND_CEILING)).normalize()
    return _rounded(value, _DIGITS, ROUND_CEILING).normalize()


def _rounded(value: Decimal, digits: int, rounding: str) -> Decimal:
    """The value with this many significant digits."""
    return value.quantize(Decimal(1).scaleb(value.adjusted() - digits + 1), rounding=rounding) if value else value


def first_step_that_breaks(outcome: Outcome, graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> str | None:
    """`quantize (fp32 1.0000, o2 1.0000, int8 0.9710)`: from the checks of variants that are stages of this one.

    None if the check names no metric, or no earlier stage was checked.
    """
    variant = next((one for one in graph.variants if outcome.id in one.checks), None)
    metric = next(iter(broken_metrics(outcome)), None)
    if variant is None or metric is None:
        return None
    stages = [(stage, check) for stage in _stages(variant, graph) if (check := _check(stage, metric, outcomes))]
    if all(stage.steps == variant.steps for stage, _ in stages):
        return None  # without an earlier stage the step that broke it is unknown
    first = next(number for number, (_, check) in enumerate(stages) if _breaks(check, metric))
    done = stages[first - 1][0].steps if first else ()
    steps = [graph.actions[step].kind for step in stages[first][0].steps[len(done) :] if step in graph.actions]
    values = ", ".join(f"{stage.target} {significant(metrics_of(check)[metric])}" for stage, check in stages)
    return f"{' or '.join(dict.fromkeys(steps))} ({values})"


def _breaks(check: Outcome, metric: str) -> bool:
    return next(iter(broken_metrics(check)), None) == metric


def _stages(variant: Variant, graph: ActionGraph) -> list[Variant]:
    """Variants of the same model whose steps begin this one's steps, the shortest first, and this one last."""
    stages = {
        one.steps: one
        for one in graph.variants
        if one.model == variant.model and one.steps == variant.steps[: len(one.steps)]
    }
    stages[variant.steps] = variant
    return [stages[steps] for steps in sorted(stages, key=len)]


def _check(variant: Variant, metric: str, outcomes: Mapping[str, Outcome]) -> Outcome | None:
    checks = (outcomes[name] for name in variant.checks if name in outcomes)
    return next((check for check in checks if isinstance(metrics_of(check).get(metric), int | float)), None)
