"""Which bounds a validation broke, in words."""

from __future__ import annotations

from collections.abc import Mapping

from onnxbuild.tables.thresholds import METRICS, is_within
from onnxbuild.workers.validate.worst import Worst


def broken_bounds(worst: Mapping[str, Worst], thresholds: Mapping[str, float]) -> list[str]:
    """A message for each metric outside its bound; a bound on a metric that was not measured counts as broken."""
    messages = []
    for metric, bound in thresholds.items():
        if metric not in worst:
            messages.append(f"`{metric}` is bounded by {bound:g}, but this model has no output to measure it on")
            continue
        value = worst[metric].value
        if not is_within(metric, value, bound):
            beyond = "below" if METRICS[metric].side == "min" else "above"
            messages.append(f"`{metric}` is {_distinct(value, bound)}, {beyond} {bound:g} ({worst[metric].where})")
    return messages


def _distinct(value: float, bound: float) -> str:
    """The value with three digits, or as many as it takes to show on which side of the bound it is."""
    for digits in range(3, 17):
        shown = float(text := f"{value:.{digits}g}")
        if shown != bound and (shown < bound) == (value < bound):
            return text
    return repr(value)
