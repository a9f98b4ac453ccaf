"""The metrics over rows of a validation: values, intervals, and bounds that the rows do not decide."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.bounds.metric import Metric
from onnxbuild.tables.bounds.row_metrics import ROW_METRICS
from onnxbuild.tables.bounds.written_bound import written_bound
from onnxbuild.tables.thresholds import METRICS, is_default_of_rows
from onnxbuild.workers.validate.by_task.intervals import Interval, Undecided, interval_of, undecided
from onnxbuild.workers.validate.by_task.measured import Measured, mean
from onnxbuild.workers.validate.by_task.measuring import is_installed, lacking
from onnxbuild.workers.validate.by_task.rows_read import Reading
from onnxbuild.workers.validate.by_task.summaries import Summary
from onnxbuild.workers.validate.worst import Worst


class RowEvidence(Struct, frozen=True, kw_only=True):
    """What was measured over rows; nothing without a `reading`."""

    reading: Reading | None = None
    measured: Sequence[Measured] = ()
    warnings: Sequence[str] = ()

    @property
    def scores(self) -> Sequence[Summary]:
        """The rows of a model with a single logit."""
        rows = self.reading.rows if self.reading is not None and self.reading.kind in {"labels", "scores"} else ()
        return [row for row in rows if len(row.reference) == 1]

    def worst(self) -> dict[str, Worst]:
        """Each metric with the rows that it was measured on."""
        name = self.reading.name if self.reading is not None else ""
        return {one.metric: Worst(value=one.value, where=_place(one, name)) for one in self.measured}

    def limits(self, params: ValidateParams) -> dict[str, float]:
        """The bounds that were written as text, as numbers. Those that nothing was measured for are left out."""
        found = {}
        for metric, text in params.texts.items():
            one = next((one for one in self.measured if one.metric == metric), None)
            bound = written_bound(text)
            limit = bound.limit(one.reference if one is not None else None) if bound is not None else None
            if limit is not None:
                found[metric] = limit
        return found

    def facts(self, params: ValidateParams, bounds: Mapping[str, float]) -> dict[str, Any]:
        """Which rows, the reference's values, intervals, and what is undecided, where there is any."""
        if self.reading is None:
            return {}
        intervals = self._intervals(params)
        open_bounds = self._undecided(bounds, intervals)
        facts = {
            "rows": self.reading.facts(),
            "reference_metrics": {one.metric: one.reference for one in self.measured if one.reference is not None},
            "intervals": {metric: list(interval) for metric, interval in intervals.items()},
            "undecided": [msgspec.to_builtins(one) | {"message": one.message} for one in open_bounds],
            "written_bounds": dict(params.texts),
        }
        return {name: value for name, value in facts.items() if value}

    def _intervals(self, params: ValidateParams) -> dict[str, Interval]:
        if not is_installed("scipy"):
            return {}
        found = {}
        for one in self.measured:
            text = written_bound(params.texts.get(one.metric, ""))
            plain = one.metric in params.numbers or (text is not None and not text.is_relative)
            interval = interval_of(one, seed=params.seed, absolute=plain)
            if interval is not None and all(map(math.isfinite, interval)):
                found[one.metric] = _inside(interval, METRICS[one.metric])
        return found

    def _undecided(self, bounds: Mapping[str, float], intervals: Mapping[str, Interval]) -> list[Undecided]:
        found = [
            undecided(one, bounds[one.metric], intervals.get(one.metric))
            for one in self.measured
            if one.metric in bounds
        ]
        return [one for one in found if one is not None]


def _inside(interval: Interval, metric: Metric) -> Interval:
    """The interval cut to the values that a metric can have: a difference added to a value may leave them."""
    low, high = (min(max(end, metric.least), metric.most) for end in interval)
    return low, high


def gathered(reading: Reading | None, measured: Sequence[Measured], params: ValidateParams) -> RowEvidence:
    """The evidence of these metrics.

    Errors: CheckFailed OBE112 if a bound was written for a metric whose package is missing, OBE150 for one on one row.
    """
    if reading is None:
        return RowEvidence()
    warnings = []
    for package, metrics in lacking(reading.kind):
        _refuse_bounds(package, set(metrics) & _written(params))
        names = ", ".join(f"`{name}`" for name in metrics)
        warnings.append(f"{package} is not installed, so {names} are not measured: `pip install 'onnxbuild[metrics]'`")
    if len(reading.cases.rows) == 1:
        _refuse_one_row(reading, (_written(params) & ROW_METRICS.keys()) - {one.metric for one in measured})
    finite = [one for one in measured if math.isfinite(one.value)]
    return RowEvidence(reading=reading, measured=[*finite, *_drops(finite, params)], warnings=warnings)


def _written(params: ValidateParams) -> set[str]:
    """The metrics whose bound is no default, or was written although it is one."""
    insisted = () if params.insisted is msgspec.UNSET else params.insisted
    own = {name for name, bound in params.numbers.items() if not is_default_of_rows(name, bound, params.precision)}
    return own | {*params.texts, *insisted}


def _refuse_one_row(reading: Reading, metrics: Collection[str]) -> None:
    if metrics:
        hint = "add rows to the dataset, raise `samples` or `limit`, or remove the bound"
        raise CheckFailed(
            "OBE150",
            f"`{min(metrics)}` is bounded, and {reading.name} are one row: metrics over rows need at least two",
            notes=[("hint", hint)],
        )


def _refuse_bounds(package: str, metrics: set[str]) -> None:
    if metrics:
        name = min(metrics)
        raise CheckFailed(
            "OBE112",
            f"`{name}` is bounded, and {package}, which computes it, is not installed",
            notes=[("hint", "run `pip install 'onnxbuild[metrics]'` in the environment of the worker")],
        )


def _drops(measured: Sequence[Measured], params: ValidateParams) -> list[Measured]:
    """`accuracy_drop` on the labels of a dataset: the same rows as `accuracy`, the other way round."""
    found = next((one for one in measured if one.metric == "accuracy"), None)
    if found is None or not params.reads_labels or found.reference is None:
        return []
    variant, reference = found.parts
    value = float(np.sum(reference) - np.sum(variant)) / found.rows
    return [
        Measured(
            metric="accuracy_drop",
            value=value,
            unit=found.unit,
            parts=(reference, variant),
            statistic=lambda one, other, axis=-1: mean(one, axis) - mean(other, axis),
        )
    ]


def _place(one: Measured, name: str) -> str:
    beside = "" if one.reference is None else f"; the reference has {one.reference:.4g}"
    return f"{one.rows} {one.unit}, {name}{beside}"
