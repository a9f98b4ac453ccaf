"""What a run would do: the same decisions, without running anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from onnxbuild.digest import Digest
from onnxbuild.execute.assess import Assessor, Complete, as_planned
from onnxbuild.execute.decide import LACKING, Hit, Rebuild, asks_elsewhere, decide, differences, of_upload
from onnxbuild.execute.events import Outcome, Reason
from onnxbuild.execute.last_outcomes import LastOutcomes
from onnxbuild.execute.schedule import hit_outcome, unreadable
from onnxbuild.execute.sharing.compiled_elsewhere import is_final
from onnxbuild.planning.action_graph import Action, ActionGraph, OutputRef, PapersSource
from onnxbuild.protocol import plain
from onnxbuild.runners.runner import Runner
from onnxbuild.steps import Kinds
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Trace


def preview(
    graph: ActionGraph,
    *,
    kinds: Kinds,
    store: Store,
    runner: Runner,
    scope: str,
    force: frozenset[str] = frozenset(),
    own: frozenset[str] = frozenset(),
    elsewhere: Callable[[str], Trace | None] | None = None,
    complete: Complete = as_planned,
    lacking: frozenset[str] = frozenset(),
    uploads: frozenset[str] = frozenset(),
) -> Iterator[Outcome]:
    """For every action, in the order of the graph: a hit, or that it would run, with the reasons.

    An action that depends on one that would run is shown as one that would run, too, although it may turn out to be
    up to date if the result does not change. `elsewhere` is asked for results that the store lacks: by default the
    remote store, for the trace only, and not for the actions in `own`. The rest is as in a run.
    """
    elsewhere = elsewhere or store.offered
    assessor = Assessor(kinds, store, runner)
    last = LastOutcomes(store, scope)
    outputs: dict[str, Mapping[str, Digest]] = {}
    hits: dict[str, Outcome] = {}
    for action in graph.actions.values():
        trace = last.trace(action.id)
        if waits := [need for need in action.needs if need not in outputs]:
            reasons = _reasons_while_waiting(action, assessor, trace, outputs, waits)
            yield Outcome(id=action.id, kind=action.kind, outcome="run", reasons=reasons)
            continue
        try:
            parts = assessor.parts(complete(action, hits), outputs)
        except OSError as error:
            yield Outcome(id=action.id, kind=action.kind, outcome="failed", failure=unreadable(error))
            continue
        forced = "--force" if action.id in force else LACKING if action.id in lacking else ""
        decision = decide(parts, trace, store, force=forced, own=action.id in own)
        if action.id in uploads:
            decision = of_upload(decision, partial(last.ran, action.id))
        may_ask = action.id not in force | own | lacking and asks_elsewhere(decision, store)
        if may_ask and (other := elsewhere(decision.key)) and (isinstance(decision, Rebuild) or is_final(other)):
            decision = Hit(decision.key, other)
        if isinstance(decision, Hit):
            outputs[action.id] = {port: Digest(digest) for port, digest in decision.trace.outputs.items()}
            hits[action.id] = hit_outcome(action, decision)
            yield hits[action.id]
        else:
            yield Outcome(id=action.id, kind=action.kind, outcome="run", reasons=decision.reasons, key=decision.key)


def _reasons_while_waiting(
    action: Action,
    assessor: Assessor,
    trace: Trace | None,
    outputs: Mapping[str, Mapping[str, Digest]],
    waits: list[str],
) -> tuple[Reason, ...]:
    """The reasons of an action with inputs that are not built yet: those inputs, and all other parts that changed."""
    if trace is None:
        return (Reason("trace", None, "never built"),)
    pending = {port: ref for port, ref in action.inputs.items() if isinstance(ref, OutputRef) and ref.action in waits}
    known: Mapping[str, str] = trace.parts["inputs"]
    inputs = {
        port: Digest(known.get(port, ""))
        if port in pending or isinstance(source, PapersSource)
        else assessor.digest(source, outputs)
        for port, source in action.inputs.items()
    }
    changed = differences(trace.parts, plain(assessor.parts_with(action, inputs)))
    awaited = {
        f"inputs.{port}": Reason(f"inputs.{port}", known.get(port), f"rebuilt by {ref.action}")
        for port, ref in pending.items()
    }
    return (*(one for one in changed if one.part not in awaited), *awaited.values())
