"""A matrix: one model for each combination of the values of its axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.document import Array, Table

LARGEST = 10_000
MOST_COMPARED = 1_000_000  # points times exclusions


def points(matrix: Table, at: Span, faults: list[Diagnostic]) -> Iterator[Mapping[str, Any]]:
    """Every combination in the order written, the last axis changing fastest, without those that `exclude` matches."""
    axes = {name: values for name, values in matrix.items() if name != "exclude"}
    count = math.prod(len(values) for values in axes.values())
    if not axes or count == 0:
        faults.append(fault("OB013", "the matrix has no points", span=at, hint="give each axis a value"))
        return
    if count > LARGEST:
        message = f"the matrix has {count:,} points: at most {LARGEST:,}"
        faults.append(fault("OB007", message, span=at, hint="split it into several models"))
        return
    excluded = _exclusions(matrix, axes, faults)
    if count * len(excluded) > MOST_COMPARED:
        message = f"{len(excluded):,} exclusions for {count:,} points are too many: at most {MOST_COMPARED // count:,}"
        faults.append(fault("OB007", message, span=at, hint="split it into several models"))
        return
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        if not any(all(point.get(name) == value for name, value in one.items()) for one in excluded):
            yield point


def _exclusions(matrix: Table, axes: Mapping[str, Any], faults: list[Diagnostic]) -> list[Table]:
    exclusions = [one for one in matrix.get("exclude", Array(matrix.span)) if isinstance(one, Table)]
    for one in exclusions:
        for name in one:
            if name not in axes:
                hint = did_you_mean(name, axes)
                faults.append(fault("OB004", f"the matrix has no axis `{name}`", span=one.key_span(name), hint=hint))
    return exclusions
