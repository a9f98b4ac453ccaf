"""Whether a session returns what the session with ONNX Runtime's defaults returns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.tables.thresholds import THRESHOLDS, Bounds, is_within, judged_as, table_of
from onnxbuild.workers.measuring import metrics

_HALF = ("f16", "fp16")
_OF_DECISIONS = frozenset({"top1", "max_probability"})
_MEASURES = {
    "max_abs": metrics.max_abs,
    "cosine_min": metrics.cosine_min,
    "top1": metrics.top1,
    "max_probability": metrics.max_probability,
}


def bounds_of(task: str, config: Mapping[str, Any], precision: str) -> Bounds:
    """The bounds by which a validation judges the same numbers in another order.

    A graph with integers in it is the same graph in both sessions, so that it gets the bounds of fp32, and not those
    of int8, which forgive what quantizing costs. Half precision rounds every sum.
    """
    column = judged_as("fp16" if precision.endswith(_HALF) else "bf16" if precision.endswith("bf16") else "fp32")
    row = THRESHOLDS[table_of(task, config)][column]
    return {name: bound for name, bound in row.items() if name in _MEASURES}


def why_not_equal(reference: Path, variant: Path, bounds: Bounds) -> str | None:
    """Which output differs by more than a bound; None if all are within it."""
    with np.load(reference) as exact, np.load(variant) as found:
        for name in exact.files:
            if (why := _difference(name, exact[name], found[name], bounds)) is not None:
                return why
    return None


def _difference(name: str, exact: np.ndarray, found: np.ndarray, bounds: Bounds) -> str | None:
    output = name.partition(" ")[2]
    if exact.shape != found.shape:
        return f"output `{output}` has another shape"
    if not np.issubdtype(exact.dtype, np.floating):
        return None if np.array_equal(exact, found) else f"output `{output}` differs"
    one, other = _rows(exact), _rows(found)
    if one.size == 0:
        return None
    if metrics.non_finite(one, other):
        return f"output `{output}` has values that are not finite"
    one, other = _finite(one), _finite(other)
    for metric, bound in bounds.items():
        if metric in _OF_DECISIONS and output != "logits":
            continue
        value = _MEASURES[metric](one, other)
        if not is_within(metric, value, bound):
            return f"output `{output}` differs: `{metric}` is {value:.3g}, and the bound {bound:g}"
    return None


def _rows(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32).reshape(-1, array.shape[-1] if array.ndim else 1)


def _finite(array: np.ndarray) -> np.ndarray:
    finite: np.ndarray = np.where(np.isfinite(array), array, np.float32(0))
    return finite
