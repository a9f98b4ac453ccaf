"""Which bounds a validation applies, and which of them it broke, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec import UNSET

from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.tasks import TASKS, ThresholdRow, is_speech_to_text
from onnxbuild.tables.thresholds import (
    METRICS,
    OF_VECTORS,
    THRESHOLDS,
    Bounds,
    is_default,
    is_default_of_rows,
    is_within,
    judged_as,
    table_of,
)
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.validate.compare import LOGITS
from onnxbuild.workers.validate.worst import Worst

_OF_TOKENS = 3  # axes of the logits of each token: batch, tokens, vocabulary


def row_of(task: str, variant: OnnxModel) -> ThresholdRow:
    """The row of thresholds that a graph can be judged by: the task's, unless its outputs say otherwise.

    A graph without logits gives vectors or numbers, and a speech model of one graph classifies each frame.
    """
    axes = {name: count for stage in variant.stages for name, count in variant.output_axes(stage).items()}
    if not LOGITS & axes.keys():
        return OF_VECTORS
    if is_speech_to_text(task) and variant.stages == ("forward",) and "input_ids" not in variant.inputs("forward"):
        return "classification"
    if task in TASKS:
        return table_of(task)
    reads_tokens = any("input_ids" in variant.inputs(stage) for stage in variant.stages)
    return "generation" if reads_tokens and axes.get("logits") == _OF_TOKENS else "classification"


def fitting_bounds(params: ValidateParams, row: ThresholdRow, worst: Mapping[str, Worst]) -> Bounds:
    """The bounds without the defaults that the graph gives nothing to measure on, and with those of its `row` instead.

    What a person wrote stays, and so does everything if nothing else would be left. Default bounds over rows apply
    only to a model that read them: one without a tokenizer, or one that is too large, reads none.
    """
    insisted = () if params.insisted is UNSET else params.insisted
    thresholds = {
        name: bound
        for name, bound in params.numbers.items()
        if name in worst or name in insisted or not is_default_of_rows(name, bound, params.precision)
    }
    defaults = {
        name: bound
        for name, bound in thresholds.items()
        if name not in insisted and is_default(name, bound, params.precision)
    }
    if not defaults.keys() - worst.keys():
        return thresholds
    fitting = {**defaults, **THRESHOLDS[row][judged_as(params.precision)]}
    written = {name: bound for name, bound in thresholds.items() if name not in defaults}
    left = {name: bound for name, bound in fitting.items() if name in worst} | written
    return left or thresholds


def broken_bounds(worst: Mapping[str, Worst], thresholds: Mapping[str, float]) -> list[str]:
    """A message for each metric outside its bound; a bound on a metric that was not measured counts as broken."""
    messages = []
    for metric, bound in thresholds.items():
        if metric not in worst:
            by = "" if math.isnan(bound) else f" by {bound:g}"
            messages.append(f"`{metric}` is bounded{by}, but this model has no output to measure it on")
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
