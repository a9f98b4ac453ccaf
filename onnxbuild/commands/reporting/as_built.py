"""The precision of what was built: not the one of the manifest, if that was edited since."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from msgspec import structs

from onnxbuild.commands.workspace import Session
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.machine import this_machine
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.steps.kind import Context


def as_built(
    graph: ActionGraph, outdated: Collection[str], opened: Session, outcomes: Mapping[str, Outcome]
) -> ActionGraph:
    """The graph, with the precision that the outdated variants were built in."""
    variants = (
        structs.replace(one, precision=_precision(one, opened, outcomes)) if one.name in outdated else one
        for one in graph.variants
    )
    return structs.replace(graph, variants=tuple(variants))


def _precision(variant: Variant, opened: Session, outcomes: Mapping[str, Outcome]) -> str:
    """The precision after all steps, by the params in their traces; that of the manifest if a trace is missing."""
    context = Context(
        task=None, family="encoder", config=None, precision="fp32", previous=(), reference="checkpoint", device="cpu",
        machine=this_machine(),
    )  # fmt: skip
    for name in variant.steps:
        outcome = outcomes.get(name)
        trace = opened.store.traces.find(outcome.key) if outcome and outcome.key else None
        if trace is None or outcome is None or outcome.outcome not in SUCCEEDED:
            return variant.precision
        kind = opened.kinds[opened.graph.actions[name].kind]
        try:
            params = msgspec.convert(trace.parts.get("params"), kind.params)
        except msgspec.ValidationError:  # of another version of the kind
            return variant.precision
        context = structs.replace(context, precision=kind.precision_after(params, context))
    return context.precision
