"""Where the manifest states the params of an action: what `explain` shows beside them, and what a failure points at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.deliver.variant_rows import broken_metrics, metrics_of
from onnxbuild.diagnostics import Span
from onnxbuild.execute.events import Outcome
from onnxbuild.manifest.document import Table
from onnxbuild.manifest.spec import Manifest, Model
from onnxbuild.planning.action_graph import Action
from onnxbuild.steps.kind import Kind


def written_params(action: Action, kind: Kind, manifest: Manifest) -> Mapping[str, Span]:
    """The place of each param that the manifest states, in the block of the step or beside it (`task`, `device`)."""
    places: dict[str, Span] = {}
    for model, block in _blocks(action, manifest):
        places |= {name: at for name, at in block.keys_at.items() if block[name] == action.params.get(name)}
        for table in _tables_of(action, kind.name, block, model):
            places |= _fields(table, kind)
    return places


def broken_bound(outcome: Outcome, action: Action, manifest: Manifest) -> Span | None:
    """The place of the bound that a failed validation names first; None where the manifest does not state it."""
    bounds = action.params.get("thresholds")
    measured, broken = metrics_of(outcome), broken_metrics(outcome)
    if action.kind != "validate" or not measured or not isinstance(bounds, Mapping):
        return None
    first = next((metric for metric in bounds if metric in broken or metric not in measured), None)
    return None if first is None else _bound(first, bounds[first], action, manifest)


def _bound(metric: str, value: float, action: Action, manifest: Manifest) -> Span | None:
    """The innermost place that states this bound: of the target, else of the model or of `defaults`."""
    place = None
    for model, block in _blocks(action, manifest):
        for table in _tables_of(action, action.kind, block, model):
            check = table[action.kind]
            thresholds = check.get("thresholds") if isinstance(check, Table) else None
            if isinstance(thresholds, Table) and thresholds.get(metric) == value:
                place = thresholds.keys_at.get(metric, place)
    return place


def _blocks(action: Action, manifest: Manifest) -> Iterator[tuple[Model, Table]]:
    """The block of the action's model, then that of its target."""
    name = action.id.partition(":")[0].partition("/")[0]
    for model in (one for one in manifest.models if one.name == name):
        yield model, model.block
        for target in model.targets:
            if action.id.startswith(f"{model.name}/{target.name}:"):
                yield model, target.block


def _tables_of(action: Action, kind: str, block: Table, model: Model) -> Iterator[Table]:
    """The tables in a block that hold the step; a model's block also counts for the checks of its targets."""
    for table in _tables(block):
        if kind in table and (table.keys_at.get(kind) == action.span or table is model.block):
            yield table


def _fields(table: Table, kind: Kind) -> Mapping[str, Span]:
    block = table[kind.name]
    if isinstance(block, Table):
        return dict(block.keys_at)
    short = kind.params.SHORT
    return {short: table.value_span(kind.name)} if short is not None and not isinstance(block, bool) else {}


def _tables(value: Any) -> Iterator[Table]:
    """All tables in a block, itself first."""
    if isinstance(value, Table):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _tables(one)
