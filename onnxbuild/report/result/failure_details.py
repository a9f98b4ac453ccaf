"""What helps after a failure: its place in the manifest, the command that repeats it, how to accept a difference."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.render_diagnostics import code_frame
from onnxbuild.report.result.variant_rows import broken_metrics, metrics_of
from onnxbuild.steps.validate import METRICS

_DIGITS = 3  # significant digits of a bound that is offered


def place_in_manifest(outcome: Outcome, graph: ActionGraph) -> Sequence[str]:
    """The line of the manifest that an action comes from, as a code frame; nothing where the place is not known."""
    action = graph.actions.get(outcome.id)
    return code_frame(action.span) if action is not None and action.span is not None else ()


def again(outcome: Outcome, manifest: str, options: Sequence[str]) -> str:
    """The command that runs one action again, as a shell takes it; `options`: those of the run that failed."""
    return shlex.join(["onnxbuild", "run", manifest, outcome.id, *options])


def how_to_accept(outcome: Outcome, graph: ActionGraph) -> str | None:
    """The lines of YAML that accept a failed validation for its target alone; None where no bound was broken."""
    variant = next((one for one in graph.variants if outcome.id in one.checks), None)
    bounds = _bounds_to_accept(outcome)
    if variant is None or not bounds:
        return None
    written = ", ".join(f"{metric}: {value:g}" for metric, value in bounds.items())
    lines = [
        f"if this difference is acceptable for `{variant.target}`, add to that target",
        "targets:",
        f"  {variant.target}:",
        f"    validate: {{thresholds: {{{written}}}}}",
    ]
    return "\n".join(lines)


def _bounds_to_accept(outcome: Outcome) -> Mapping[str, float]:
    """For each metric outside its bound a bound that the measured value meets; none where one is not finite."""
    measured = metrics_of(outcome)
    values = {metric: float(measured[metric]) for metric in broken_metrics(outcome)}
    if not all(map(math.isfinite, values.values())):
        return {}
    return {metric: _loosened(value, METRICS.get(metric)) for metric, value in values.items()}


def _loosened(value: float, side: str | None) -> float:
    """The value in few digits, rounded to the side that accepts it."""
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - _DIGITS + 1)
    rounded = math.floor(value / step) if side == "min" else math.ceil(value / step)
    return round(rounded * step, 12)
