"""The 95 % interval of a metric's own value, and that of its difference to the reference, from what a result keeps.

A result keeps one interval per metric. Where both sides are compared with labels, it is that of the difference, added
to the reference's value (docs/explanation/thresholds.md): it says how near the variant is to the reference, and not how
certain the value is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.tables.bounds.equal_rows import exact_interval
from onnxbuild.tables.bounds.row_metrics import ROW_METRICS
from onnxbuild.tables.bounds.written_bound import written_bound

Interval = tuple[float, float]

OVER_ROWS = frozenset({*ROW_METRICS, "accuracy_drop"})
_SHARES_OF_ROWS = frozenset({"accuracy", "top5_accuracy"})  # of those with both sides: each row is right or wrong
_COUNTED = re.compile(r"(\d{1,12}) ([a-z]+),")
_Z = 1.959964  # the quantile of the normal distribution that leaves `TAIL` above it


class Intervals(Struct, frozen=True):
    """What is known of a metric; None for each that is not."""

    value: Interval | None = None
    difference: Interval | None = None


def measured_on(metric: str, place: str) -> tuple[int, str] | None:
    """How many rows, pairs or queries a metric was measured on, from the place that a result names."""
    match = _COUNTED.match(place) if metric in OVER_ROWS else None
    return None if match is None else (int(match[1]), match[2])


def intervals_of(
    metric: str, value: float, kept: Interval | None, facts: Mapping[str, Any], rows: int | None
) -> Intervals:
    """The intervals of a metric. `facts`: those of its validation; `rows`: how many it was measured on."""
    if not _is_paired(metric, facts):
        return Intervals(value=_with_width(metric, value, kept, rows))
    own = _wilson(value, rows) if metric in _SHARES_OF_ROWS else None
    return Intervals(value=own, difference=_difference(kept, _mapping(facts.get("reference_metrics")).get(metric)))


def _is_paired(metric: str, facts: Mapping[str, Any]) -> bool:
    """Whether the interval is that of the difference; beside a bound that is not relative, it is the value's own."""
    if metric not in ROW_METRICS or not ROW_METRICS[metric].both_sides:
        return False
    text = written_bound(str(_mapping(facts.get("written_bounds")).get(metric, "")))
    return text.is_relative if text is not None else metric not in _mapping(facts.get("thresholds"))


def _with_width(metric: str, value: float, kept: Interval | None, rows: int | None) -> Interval | None:
    """The interval. Equal rows give a bootstrap no width, but they do not show that all other rows are equal too."""
    if kept is None or kept[0] != kept[1]:
        return kept
    table = ROW_METRICS.get(metric)
    is_share = table is not None and (table.side, table.least, table.most) == ("min", 0.0, 1.0)
    return exact_interval(value, rows) if is_share and rows and value in {0.0, 1.0} else None


def _wilson(value: float, rows: int | None) -> Interval | None:
    """The score interval of a share of rows (Wilson 1927)."""
    if not rows or not 0.0 <= value <= 1.0:
        return None
    if value in {0.0, 1.0}:
        return exact_interval(value, rows)
    shrink = 1 + _Z**2 / rows
    centre = (value + _Z**2 / (2 * rows)) / shrink
    reach = _Z * math.sqrt(value * (1 - value) / rows + _Z**2 / (4 * rows**2)) / shrink
    return centre - reach, centre + reach


def _difference(kept: Interval | None, reference: Any) -> Interval | None:
    """None without width: all rows are equal on both sides, which says little of other rows."""
    if kept is None or kept[0] == kept[1] or not isinstance(reference, int | float):
        return None
    return kept[0] - reference, kept[1] - reference


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
