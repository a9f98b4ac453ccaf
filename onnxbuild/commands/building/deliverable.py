"""What a run delivers: what was selected, with the stored results of measures that did not take part in the run.

A run that a selector narrows, or that ends early, has no outcome of some measures. A description without them would be
another text than that of a whole run: the two would take turns in rewriting the folder, and no signature would last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec import structs

from onnxbuild.commands.building.best_first import with_best
from onnxbuild.commands.workspace import Session
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant


def deliverable(opened: Session, outcomes: Mapping[str, Outcome]) -> tuple[Session, Mapping[str, Outcome]]:
    """The session whose graph has only what is delivered, and the outcomes with those that the store has besides."""
    names = {one.name for one in opened.plan.delivered}
    every = structs.replace(opened, plan=structs.replace(opened.plan, graph=opened.plan.whole))
    known = _with_stored(every, outcomes, opened.plan.described)
    best = with_best(every, known)
    if best is not every:
        known = _with_stored(best, known, best.plan.described)
    graph = _only(best.graph, names, opened.graph)
    return structs.replace(best, plan=structs.replace(best.plan, graph=graph)), known


def _with_stored(every: Session, outcomes: Mapping[str, Outcome], variants: Iterable[Variant]) -> Mapping[str, Outcome]:
    """The outcomes, with the hits among the actions of these variants that did not take part in the run."""
    built = (one for one in variants if _may_be_stored(one.output.action, outcomes))
    lacking = {name for one in built for name in one.members if not _took_part(name, outcomes)}
    if not lacking:
        return outcomes
    # Only what is stored here: a description has the whole record of a result, and nothing is fetched for it.
    found = every.preview(every.graph.only(every.graph.with_needs(lacking)), elsewhere=lambda _key: None)
    return {**outcomes, **{name: found[name] for name in lacking if found[name].outcome == "hit"}}


def _may_be_stored(name: str, outcomes: Mapping[str, Outcome]) -> bool:
    """Whether an action ended well, or was not selected. After an interrupt, nothing is read of what was skipped."""
    return name not in outcomes or outcomes[name].outcome in SUCCEEDED


def _took_part(name: str, outcomes: Mapping[str, Outcome]) -> bool:
    return name in outcomes and outcomes[name].outcome != "skipped"


def _only(whole: ActionGraph, names: Collection[str], run: ActionGraph) -> ActionGraph:
    """The graph with the named variants and packages, and the choices of the run among these."""
    targets = {one.model: {f"{one.model}/{target}" for target in one.targets} for one in run.choices}
    return structs.replace(
        whole,
        variants=tuple(one for one in whole.variants if one.name in names),
        packages=tuple(one for one in whole.packages if one.variant.name in names),
        choices=tuple(one for one in run.choices if targets[one.model] <= {*names}),
    )
