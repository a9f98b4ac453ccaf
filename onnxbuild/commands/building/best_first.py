"""The session of a command once it is known which variants are the best: with what only these run (`tune: best`)."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from onnxbuild.commands.workspace import Session
from onnxbuild.deliver.best_variant import chosen_variants
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.best_only import extended


def with_best(opened: Session, outcomes: Mapping[str, Outcome]) -> Session:
    """The session in which the best variants have their actions; the same one if there are none."""
    if not any(variant.if_best for variant in opened.graph.variants):
        return opened
    chosen = chosen_variants(opened.graph, outcomes)
    best = {f"{one.choice.model}/{one.best.variant.target}" for one in chosen if one.best is not None}
    graph, whole = extended(opened.graph, opened.plan.whole, best)
    if graph is opened.graph:
        return opened
    added = frozenset(graph.actions) - frozenset(opened.graph.actions)
    plan = structs.replace(opened.plan, graph=graph, whole=whole, named=opened.plan.named | added)
    return structs.replace(opened, plan=plan)
