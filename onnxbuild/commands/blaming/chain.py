"""The chain of a variant, from the export to its last step, with a check of each step's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs

from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.planning.action_graph import Action, ActionGraph, Input, OutputRef, Variant
from onnxbuild.planning.select import named, variants_named
from onnxbuild.steps import all_kinds
from onnxbuild.steps.checks.blame_nodes import BLAME, BlameParams
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.steps.quantize import QUANTIZE, QuantizeParams, precision_of
from onnxbuild.steps.validate import VALIDATE
from onnxbuild.tables.tasks import row_columns

_MODEL, _TEXT = "model", "text"
_BEFORE = ("fetch", "prepare")  # what they make is the reference, which nothing can break
# The param of a step that says what it does, where the name of its kind does not.
_TELLING: Mapping[str, str] = {"optimize": "level", "precision": "dtype"}


class Stage(Struct, frozen=True, kw_only=True):
    """A step of a chain. `check` validates its result; `nodes` compares it with `before`, None for an export."""

    kind: str
    label: str  # what its result is called: `export`, `O2`, `int8`
    params: Mapping[str, Any]
    check: Action
    nodes: Action | None = None


class Chain(Struct, frozen=True, kw_only=True):
    """A variant with the stages of its chain, in order."""

    variant: Variant
    stages: tuple[Stage, ...]


def variant_named(graph: ActionGraph, selectors: Sequence[str]) -> Variant:
    """The one variant that selectors name. Errors: DiagnosticError OB018 for none, OB670 for several."""
    named(graph, selectors)
    variants = variants_named(graph, selectors)
    if len(variants) == 1:
        return variants[0]
    few = ", ".join(one.name for one in (variants or graph.variants)[:8])
    raise DiagnosticError([fault("OB670", "which variant to blame is not clear", hint=f"name one of {few}")])


def chain_of(graph: ActionGraph, variant: Variant) -> Chain:
    """The stages of a variant. Errors: DiagnosticError OB671 if it is not validated."""
    validate = next((graph.actions[one] for one in variant.checks if graph.actions[one].kind == VALIDATE.name), None)
    if validate is None:
        hint = "remove `validate: false`; an `onnx:` model without steps is its own reference"
        raise DiagnosticError([fault("OB671", f"`{variant.name}` is not validated", hint=hint, span=None)])
    steps = [graph.actions[step] for step in variant.steps]
    made = [step for step in steps if step.kind not in _BEFORE]
    return Chain(variant=variant, stages=tuple(_stage(variant, step, validate) for step in made))


def with_checks(graph: ActionGraph, chain: Chain) -> ActionGraph:
    """The actions that check every stage, with all that they need. It has no variants, so nothing is delivered."""
    return _with(graph, [stage.check for stage in chain.stages])


def with_nodes(graph: ActionGraph, stage: Stage) -> ActionGraph:
    """The action that compares the nodes of a stage, with all that it needs."""
    assert stage.nodes is not None, "BUG: an export has no graph before it"
    return _with(graph, [stage.nodes])


def _with(graph: ActionGraph, added: Sequence[Action]) -> ActionGraph:
    actions = {**graph.actions, **{one.id: one for one in added}}
    needed = ActionGraph(actions).with_needs([one.id for one in added])
    return ActionGraph({name: action for name, action in actions.items() if name in needed})


def _stage(variant: Variant, step: Action, validate: Action) -> Stage:
    name = step.id.rpartition(":")[2]  # with its number, if the target has the step twice
    return Stage(
        kind=step.kind,
        label=label_of(step.kind, step.params),
        params=step.params,
        check=_check(f"{variant.name}:validate-after-{name}", step, validate),
        nodes=None if _writes_anew(step.kind) else _nodes(f"{variant.name}:blame-{name}", step, validate),
    )


def _writes_anew(kind: str) -> bool:
    """Whether a step has no graph before it, because it writes one from the checkpoint."""
    return all_kinds()[kind].inputs.get(_MODEL) == "checkpoint"


def _check(name: str, step: Action, validate: Action) -> Action:
    """The variant's own validation, of the result of a step. It warns, because a failure would not be stored."""
    return structs.replace(
        validate,
        id=name,
        params={**validate.params, "on_failure": "warn"},
        inputs={**validate.inputs, _MODEL: OutputRef(step.id, _MODEL)},
    )


def _nodes(name: str, step: Action, validate: Action) -> Action:
    """The comparison of the graphs before and after a step, on the text of the dataset that the validation reads."""
    rows: dict[str, Input] = {PORT: validate.inputs[PORT]} if _reads_text(validate) else {}
    shared = {field: validate.params[field] for field in BlameParams.SHARED if field in validate.params}
    shared.pop("rows" if not rows else "", None)
    params: Mapping[str, Any] = msgspec.to_builtins(msgspec.convert(shared, BlameParams))
    return Action(
        id=name,
        kind=BLAME.name,
        params=params,
        inputs={"before": step.inputs[_MODEL], "after": OutputRef(step.id, _MODEL), **rows},
        toolchain=step.toolchain,
        timeout_seconds=validate.timeout_seconds,
        span=step.span,
    )


def _reads_text(validate: Action) -> bool:
    """Whether a validation reads a dataset whose rows are single texts."""
    columns = validate.params.get("rows", {}).get("columns", {})
    return PORT in validate.inputs and _TEXT in row_columns(str(validate.params.get("task", "")), columns)


def label_of(kind: str, params: Mapping[str, Any]) -> str:
    """What the result of a step is called: the level of an optimization, the precision of others, else the kind."""
    if kind == QUANTIZE.name:
        return precision_of(msgspec.convert(params, QuantizeParams))
    return str(params.get(_TELLING.get(kind, ""), kind))
