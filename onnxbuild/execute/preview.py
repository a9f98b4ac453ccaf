"""What a run would do: the same decisions, with nothing run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from onnxbuild.digest import Digest
from onnxbuild.execute.assess import Assessor
from onnxbuild.execute.decide import Hit, Rebuild, decide, differences
from onnxbuild.execute.events import Outcome, Reason
from onnxbuild.execute.schedule import hit_outcome, unreadable
from onnxbuild.planning.action_graph import Action, ActionGraph, OutputRef
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
    elsewhere: Callable[[str], Trace | None] | None = None,
) -> Iterator[Outcome]:
    """For every action a hit, or that it would run and why; in the order of the graph.

    What follows an action that would run is said to run as well, although an unchanged result may spare it.
    `elsewhere` is asked for what the store lacks: as a rule the remote store, for the trace alone.
    """
    elsewhere = elsewhere or store.offered
    assessor = Assessor(graph, kinds, store, runner)
    lasts = store.traces.last(scope)
    outputs: dict[str, Mapping[str, Digest]] = {}
    for action in graph.actions.values():
        trace = assessor.last_trace(lasts.get(action.id))
        if waits := [need for need in action.needs if need not in outputs]:
            reasons = _reasons_while_waiting(action, assessor, trace, outputs, waits)
            yield Outcome(id=action.id, kind=action.kind, outcome="run", reasons=reasons)
            continue
        try:
            parts = assessor.parts(action, outputs)
        except OSError as error:
            yield Outcome(id=action.id, kind=action.kind, outcome="failed", failure=unreadable(error))
            continue
        decision = decide(parts, trace, store, force=action.id in force)
        if action.id not in force and isinstance(decision, Rebuild) and (found := elsewhere(decision.key)):
            decision = Hit(decision.key, found)
        if isinstance(decision, Hit):
            outputs[action.id] = {port: Digest(digest) for port, digest in decision.trace.outputs.items()}
            yield hit_outcome(action, decision)
        else:
            yield Outcome(id=action.id, kind=action.kind, outcome="run", reasons=decision.reasons, key=decision.key)


def _reasons_while_waiting(
    action: Action,
    assessor: Assessor,
    trace: Trace | None,
    outputs: Mapping[str, Mapping[str, Digest]],
    waits: list[str],
) -> tuple[Reason, ...]:
    """The reasons of an action some of whose inputs are yet to be made: those inputs, and all else that has changed."""
    if trace is None:
        return (Reason("trace", None, "never built"),)
    pending = {port: ref for port, ref in action.inputs.items() if isinstance(ref, OutputRef) and ref.action in waits}
    known: Mapping[str, str] = trace.parts["inputs"]
    inputs = {
        port: Digest(known.get(port, "")) if port in pending else assessor.digest(source, outputs)
        for port, source in action.inputs.items()
    }
    changed = differences(trace.parts, plain(assessor.parts_with(action, inputs)))
    awaited = tuple(
        Reason(f"inputs.{port}", known.get(port), f"rebuilt by {ref.action}") for port, ref in pending.items()
    )
    return (*changed, *awaited)
