"""Actions that run for a model's best variant only (`tune: best`): which variant that is, only a run's results say.

A plan therefore begins without them. When the choice is made, the graph is extended by those of the chosen variant.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.planning.select import named


def with_asked(graph: ActionGraph, selectors: Sequence[str]) -> ActionGraph:
    """The graph in which a selector that names the step (`minilm/int8:tune`, `:tune`) asks for it in any variant."""
    by_step = [one for one in selectors if ":" in one]
    if not by_step or not any(variant.if_best for variant in graph.variants):
        return graph
    asked = named(graph, by_step)
    return replace(graph, variants=tuple(_with(variant, asked) for variant in graph.variants))


def begun(graph: ActionGraph) -> ActionGraph:
    """The graph without what waits for a choice."""
    held = {name for variant in graph.variants for name in variant.if_best}
    kept = {name for variant in graph.variants for name in variant.measures}
    return graph.only(frozenset(graph.actions) - (held - kept)) if held else graph


def extended(graph: ActionGraph, whole: ActionGraph, best: Collection[str]) -> tuple[ActionGraph, ActionGraph]:
    """Both graphs with what the variants called `best` run as the best ones; the same objects if there is nothing."""
    more = [variant for variant in graph.variants if variant.name in best and variant.if_best]
    if not more:
        return graph, whole
    wanted = frozenset(name for variant in more for name in variant.if_best)
    ids = wanted.union(graph.actions)
    actions = {name: action for name, action in whole.actions.items() if name in ids}
    chosen = {variant.name for variant in more}
    variants, others = ([_if_chosen(one, chosen) for one in part.variants] for part in (graph, whole))
    return replace(graph, actions=actions, variants=tuple(variants)), replace(whole, variants=tuple(others))


def _if_chosen(variant: Variant, chosen: Collection[str]) -> Variant:
    return _with(variant, variant.if_best) if variant.name in chosen else variant


def _with(variant: Variant, asked: Collection[str]) -> Variant:
    """The variant that is also measured by what was asked for."""
    more = tuple(name for name in variant.if_best if name in asked)
    rest = tuple(name for name in variant.if_best if name not in asked)
    return replace(variant, measures=(*variant.measures, *more), if_best=rest) if more else variant
