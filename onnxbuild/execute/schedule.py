"""The scheduler: runs what is not up to date, in the order of the graph, and tells what happens.

One loop owns all state. It decides (hit or rebuild) when everything that an action needs is known, hands rebuilds to
threads, each of which drives one worker through `perform`, and sleeps until one of them has something to say.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from msgspec import structs

from onnxbuild.digest import Digest
from onnxbuild.execute.assess import Assessor
from onnxbuild.execute.decide import Hit, decide
from onnxbuild.execute.events import (
    SUCCEEDED,
    ActionFinished,
    ActionProgress,
    ActionStarted,
    Event,
    Outcome,
    OutcomeName,
    Reason,
    RunFinished,
    RunStarted,
)
from onnxbuild.execute.key import KeyParts
from onnxbuild.execute.perform import Performer, system_failure
from onnxbuild.execute.policy import Done, Interrupt, Policy
from onnxbuild.machine import usable_cores
from onnxbuild.planning.action_graph import Action, ActionGraph
from onnxbuild.protocol import Failure
from onnxbuild.runners.runner import Runner
from onnxbuild.steps import Kinds
from onnxbuild.store.content import DamagedBlob
from onnxbuild.store.store import Store
from onnxbuild.store.traces import DATABASE, Last

# A blob that is damaged again each time it has been rebuilt is a broken disk, not an accident.
_REPAIRS_PER_ACTION = 3


def execute(
    graph: ActionGraph,
    *,
    kinds: Kinds,
    store: Store,
    runner: Runner,
    policy: Policy,
    interrupt: Interrupt | None = None,
) -> Iterator[Event]:
    """Run what is not up to date. The last event is `RunFinished`, whatever happens inside an action.

    Closing the iterator early ends the workers, as an interrupt does.
    """
    run = _Run(graph, kinds, store, runner, policy, interrupt or Interrupt())
    try:
        yield from run.events()
    finally:
        run.close()


class _Run:
    """The state of one run; everything in it belongs to the thread that iterates."""

    def __init__(
        self, graph: ActionGraph, kinds: Kinds, store: Store, runner: Runner, policy: Policy, interrupt: Interrupt
    ) -> None:
        self.graph, self.store, self.runner, self.policy = graph, store, runner, policy
        self.interrupt = interrupt
        self.kinds = kinds
        self.assessor = Assessor(graph, kinds, store, runner)
        self.performer = Performer(kinds, store, runner, policy, interrupt)
        self.dependents = graph.dependents()
        self.order = {name: position for position, name in enumerate(graph.actions)}
        self.waits = {name: set(action.needs) for name, action in graph.actions.items()}
        self.ready = [name for name, needs in self.waits.items() if not needs]
        self.running: set[str] = set()
        self.memory: dict[str, int] = {}  # estimates of what runs, in bytes
        self.alone: list[tuple[Action, KeyParts, tuple[Reason, ...]]] = []
        self.queued: list[tuple[Action, KeyParts, tuple[Reason, ...]]] = []
        self.outputs: dict[str, Mapping[str, Digest]] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.reasons: dict[str, tuple[Reason, ...]] = {}
        self.repairs: dict[str, int] = {}
        self.last = store.traces.last(policy.scope)
        self.unsaved: dict[str, Last] = {}
        self.stopping = False
        self.pool = ThreadPoolExecutor(max(policy.jobs, 1), thread_name_prefix="action")

    def events(self) -> Iterator[Event]:
        """The whole run."""
        began = time.monotonic()
        yield RunStarted(actions=tuple(self.graph.actions), jobs=self.policy.jobs)
        while self.ready or self.queued or self.alone or self.running:
            yield from self._decide_ready()
            yield from self._launch()
            if self.running:
                yield from self._receive()
        self._save()
        yield RunFinished(
            outcomes={name: self.outcomes[name] for name in self.graph.actions},
            seconds=time.monotonic() - began,
            interrupted=self.interrupt.requested,
        )

    def close(self) -> None:
        """End what still runs and remember how far it came."""
        if self.running:
            self.interrupt.requested = True
            self.runner.close()
        self.pool.shutdown()
        self._save()

    # -- deciding -----------------------------------------------------------------------------------------------------

    def _decide_ready(self) -> Iterator[Event]:
        while self.ready:
            self.ready.sort(key=self.order.__getitem__, reverse=True)
            action = self.graph.actions[self.ready.pop()]
            if self.stopping or self.interrupt.requested:
                yield from self._finish(_outcome(action, "skipped"))
                continue
            try:
                parts = self.assessor.parts(action, self.outputs)
                last = self.assessor.last_trace(self.last.get(action.id))
                decision = decide(parts, last, self.store, force=action.id in self.policy.force)
            except OSError as error:
                yield from self._finish(_outcome(action, "failed", failure=unreadable(error)))
                continue
            if isinstance(decision, Hit):
                yield from self._finish(hit_outcome(action, decision))
            else:
                self.reasons[action.id] = decision.reasons
                (self.alone if action.pool == "alone" else self.queued).append((action, parts, decision.reasons))

    def _launch(self) -> Iterator[Event]:
        """Start what may start now; an action that wants the machine for itself waits until nothing else is left."""
        while self.queued and len(self.running) < self.policy.jobs and not self._alone_runs():
            action = self.queued[0][0]
            need = self.assessor.memory_estimate(action, self.outputs)
            if self.running and sum(self.memory.values()) + need > self.policy.memory_bytes:
                break  # by itself any action may try
            self.memory[action.id] = need
            yield from self._start(*self.queued.pop(0))
        if self.alone and not self.running and not self.queued:
            yield from self._start(*self.alone.pop(0))

    def _alone_runs(self) -> bool:
        return any(self.graph.actions[name].pool == "alone" for name in self.running)

    def _start(self, action: Action, parts: KeyParts, reasons: tuple[Reason, ...]) -> Iterator[Event]:
        if self.stopping or self.interrupt.requested:
            yield from self._finish(_outcome(action, "skipped", reasons=reasons))
            return
        self.running.add(action.id)
        last = self.assessor.last_trace(self.last.get(action.id))
        threads = usable_cores() if action.pool == "alone" else max(1, usable_cores() // self.policy.jobs)
        self.pool.submit(self._perform, action, parts, reasons, last.outputs if last else None, threads)
        yield ActionStarted(id=action.id, kind=action.kind, reasons=reasons)

    def _perform(
        self,
        action: Action,
        parts: KeyParts,
        reasons: tuple[Reason, ...],
        before: Mapping[str, Digest] | None,
        threads: int,
    ) -> None:
        try:
            done = self.performer.perform(action, parts, reasons, before, threads, self.interrupt.inbox.put)
        except BaseException as error:  # noqa: BLE001 - a thread that ends without a word would leave the run waiting
            failure = Failure(code="OBE99", message=f"BUG: {type(error).__name__}: {error}")
            done = Done(_outcome(action, "failed", reasons=reasons, failure=failure))
        self.interrupt.inbox.put(done)

    # -- what comes back ----------------------------------------------------------------------------------------------

    def _receive(self) -> Iterator[Event]:
        message = self.interrupt.inbox.get()
        if message is None:
            self.runner.close()  # every running action now ends, as failed by the interrupt
        elif isinstance(message, ActionProgress):
            yield message
        else:
            self.running.discard(message.outcome.id)
            self.memory.pop(message.outcome.id, None)
            if message.damaged is not None:
                yield from self._repair(message.outcome, message.damaged)
            else:
                yield from self._finish(message.outcome)

    def _repair(self, outcome: Outcome, damaged: DamagedBlob) -> Iterator[Event]:
        """An input turned out to be damaged when it was read: build again whatever made it, then this."""
        action = self.graph.actions[outcome.id]
        # Another action may have met the same damage: what makes it is then being built again already.
        again = {need for need in action.needs if need not in self.outputs}
        makers = again | {
            need
            for need in set(action.needs) - again
            if any(self._names(digest, damaged) for digest in self.outputs[need].values())
        }
        count = self.repairs[action.id] = self.repairs.get(action.id, 0) + 1
        if not makers or count > _REPAIRS_PER_ACTION:
            failure = Failure(code="OBE56", message=f"{damaged}, and building it again did not help")
            yield from self._finish(structs.replace(outcome, outcome="failed", failure=failure))
            return
        self.waits[action.id] = set(makers)
        for maker in makers - again:
            self.outcomes.pop(maker)
            self.outputs.pop(maker)
            self.ready.append(maker)
            for user in self.dependents[maker]:
                if self.waits[user]:  # it waits for something else too, and must not begin with this one gone
                    self.waits[user].add(maker)

    def _names(self, tree: str, damaged: DamagedBlob) -> bool:
        return any(file.digest == damaged.digest for file in self.store.tree(tree).files)

    def _finish(self, outcome: Outcome) -> Iterator[Event]:
        self.outcomes[outcome.id] = outcome
        self._note(outcome)
        yield ActionFinished(outcome=outcome)
        if outcome.outcome in SUCCEEDED:
            self.outputs[outcome.id] = {port: Digest(digest) for port, digest in outcome.outputs.items()}
            self._release(outcome.id)
        else:
            self.stopping = self.stopping or (self.policy.fail_fast and outcome.outcome == "failed")
            yield from self._block(outcome)

    def _release(self, name: str) -> None:
        for user in self.dependents[name]:
            if name in self.waits[user]:
                self.waits[user].discard(name)
                if not self.waits[user] and user not in self.outcomes:
                    self.ready.append(user)

    def _block(self, outcome: Outcome) -> Iterator[Event]:
        """Everything that needs what failed is blocked (or skipped, like what it waits for)."""
        name: OutcomeName = "skipped" if outcome.outcome == "skipped" else "blocked"
        for user in sorted(self._users_of(outcome.id), key=self.order.__getitem__):
            if user not in self.outcomes and user not in self.running:
                blocked = _outcome(self.graph.actions[user], name, blocked_by=outcome.id)
                self.outcomes[user] = blocked
                self._note(blocked)
                yield ActionFinished(outcome=blocked)

    def _users_of(self, name: str) -> set[str]:
        """All that depends on an action, directly or not; `graph` would import networkx for the same."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            fresh = [user for user in self.dependents[waiting.pop()] if user not in found]
            found.update(fresh)
            waiting += fresh
        return found

    def _note(self, outcome: Outcome) -> None:
        before = self.last.get(outcome.id)
        key = outcome.key if outcome.outcome in SUCCEEDED else (before.key if before else None)
        reasons = tuple({"part": r.part, "old": r.old, "new": r.new} for r in outcome.reasons)
        message = f"{outcome.failure.code} {outcome.failure.message}" if outcome.failure else None
        facts = outcome.failure.facts if outcome.failure else {}
        if before is None or (before.key, before.outcome, before.message) != (key, outcome.outcome, message):
            self.unsaved[outcome.id] = Last(
                key=key, outcome=outcome.outcome, reasons=reasons, message=message, facts=facts
            )
        if outcome.outcome in {"built", "unchanged", "failed"}:
            self._save()

    def _save(self) -> None:
        if self.unsaved and not self.store.readonly:
            self.store.traces.note(self.policy.scope, self.unsaved)
        self.unsaved = {}


def hit_outcome(action: Action, hit: Hit) -> Outcome:
    """The outcome of an action whose result is stored."""
    return Outcome(
        id=action.id, kind=action.kind, outcome="hit", facts=hit.trace.facts, outputs=hit.trace.outputs, key=hit.key
    )


def unreadable(error: OSError) -> Failure:
    """An input from outside cannot be read; or the store's own record of it."""
    if str(error.filename).endswith(DATABASE):
        return system_failure(error)
    return Failure(code="OBE55", message=f"input {error.filename!r} cannot be read: {error.strerror}")


def _outcome(
    action: Action,
    name: OutcomeName,
    *,
    reasons: tuple[Reason, ...] = (),
    failure: Failure | None = None,
    blocked_by: str | None = None,
) -> Outcome:
    return Outcome(
        id=action.id,
        kind=action.kind,
        outcome=name,
        reasons=reasons,
        failure=failure,
        blocked_by=blocked_by,
    )
