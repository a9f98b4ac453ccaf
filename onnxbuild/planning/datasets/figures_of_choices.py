"""Figures of `select:` that no variant of a model will have, because its validation has no right answers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.manifest.document import Table
from onnxbuild.manifest.spec import Model
from onnxbuild.tables.bounds.labels_of_rows import why_unmeasured


def unmeasured_figures(
    model: Model, validations: Collection[Mapping[str, Any]], config: Mapping[str, Any] | None
) -> Iterator[Diagnostic]:
    """OB034 for each. `validations`: the params of those of the model's variants."""
    if model.choice is None or not validations:
        return
    for name, at in _figures(model.block["select"]):
        missing = [
            why_unmeasured(name, one["task"], config, one.get("dataset", ""), one.get("rows", {}).get("columns", {}))
            for one in validations
        ]
        if missing[0] is not None and None not in missing:
            why, hint = missing[0]
            yield fault("OB034", f"no variant has `{name}`: {why}", span=at, hint=hint)


def _figures(select: Table) -> Iterator[tuple[str, Span]]:
    """The goal and the figures of the conditions, each with its place."""
    for goal in ("minimize", "maximize"):
        if select.get(goal):
            yield select[goal], select.value_span(goal)
    conditions = select.get("subject_to")
    if isinstance(conditions, Table):
        yield from ((name, conditions.key_span(name)) for name in conditions)
