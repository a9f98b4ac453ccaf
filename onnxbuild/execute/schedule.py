"""The scheduler: runs what is not up to date, in the order of the graph, and yields events.

One loop owns all state. It decides (hit or rebuild) when every input of an action is known, gives rebuilds to threads,
each of which drives one worker through `perform`, and sleeps until a thread has a message.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from msgspec import structs

from onnxbuild.digest import Digest
from onnxbuild.execute.assess import Assessor, Complete, as_planned
from onnxbuild.execute.decide import PREPARED, Hit, asks_elsewhere, decide, of_upload
from onnxbuild.execute.events import (
    SUCCEEDED,
    ActionFinished,
    ActionProgress,
    ActionStarted,
    Event,
    Outcome,
    OutcomeName,
    RunFinished,
    RunStarted,
)
from onnxbuild.execute.job import Job
from onnxbuild.execute.last_outcomes import LastOutcomes
from onnxbuild.execute.pending import Pending
from onnxbuild.execute.perform import Performer, failure_of, system_failure
from onnxbuild.execute.policy import Done, Interrupt, Policy
from onnxbuild.execute.repair import Repairs
from onnxbuild.execute.slots import Slots
from onnxbuild.machine import usable_cores
from onnxbuild.planning.action_graph import Action, ActionGraph
from onnxbuild.protocol import Failure
from onnxbuild.runners.runner import Runner
from onnxbuild.steps import Kinds
from onnxbuild.store.content import DamagedBlob
from onnxbuild.store.database import DATABASE
from onnxbuild.store.store import Store


def execute(
    graph: ActionGraph,
    *,
    kinds: Kinds,
    store: Store,
    runner: Runner,
    policy: Policy,
    interrupt: Interrupt | None = None,
    complete: Complete = as_planned,
) -> Iterator[Event]:
    """Run what is not up to date. The last event is `RunFinished`, whatever happens inside an action.

    `complete` gives an action the inputs that only the results of this run tell.
    Closing the iterator early ends the workers, as an interrupt does.
    """
    run = _Run(graph, kinds, store, runner, policy, interrupt or Interrupt(), complete)
    try:
        yield from run.events()
    finally:
        run.close()


class _Run:
    """The state of one run; everything in it belongs to the thread that iterates."""

    def __init__(
        self,
        graph: ActionGraph,
        kinds: Kinds,
        store: Store,
        runner: Runner,
        policy: Policy,
        interrupt: Interrupt,
        complete: Complete,
    ) -> None:
        self.graph, self.store, self.runner, self.complete = graph, store, runner, complete
        self.policy, self.interrupt = policy, interrupt
        self.assessor = Assessor(kinds, store, runner)
        self.performer = Performer(kinds, store, runner, policy, interrupt)
        self.pending = Pending(graph)
        self.slots = Slots(policy.jobs, policy.memory_bytes)
        self.repairs = Repairs(store)
        self.last = LastOutcomes(store, policy.scope)
        self.outputs: dict[str, Mapping[str, Digest]] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.failed_fast = False
        self.pool = ThreadPoolExecutor(max(policy.jobs, 1), thread_name_prefix="action")

    @property
    def stopping(self) -> bool:
        """Whether nothing more may start."""
        return self.failed_fast or self.interrupt.requested

    def events(self) -> Iterator[Event]:
        """The whole run."""
        began = time.monotonic()
        yield RunStarted(actions=tuple(self.graph.actions), jobs=self.policy.jobs)
        while self.pending or self.slots:
            yield from self._decide_ready()
            yield from self._launch()
            if self.slots.running:
                yield from self._receive()
        self.last.save()
        yield RunFinished(
            outcomes={name: self.outcomes[name] for name in self.graph.actions},
            seconds=time.monotonic() - began,
            interrupted=self.interrupt.requested,
        )

    def close(self) -> None:
        """End the jobs that still run, and save the outcomes."""
        if self.slots.running:
            self.interrupt.requested = True
            self.runner.close()
        self.pool.shutdown()
        self.last.save()

    # -- deciding -----------------------------------------------------------------------------------------------------

    def _decide_ready(self) -> Iterator[Event]:
        while self.pending:
            action = self.graph.actions[self.pending.pop()]
            if self.stopping:
                yield from self._finish(_outcome(action, "skipped"))
                continue
            try:
                decided = self._decide(action)
            except OSError as error:
                yield from self._finish(_outcome(action, "failed", failure=unreadable(error)))
                continue
            if isinstance(decided, Job):
                self.slots.add(decided)
            else:
                yield from self._finish(hit_outcome(action, decided))

    def _decide(self, action: Action) -> Hit | Job:
        action = self.complete(action, self.outcomes)
        parts = self.assessor.parts(action, self.outputs)
        last = self.last.trace(action.id)
        policy = self.policy
        decision = decide(parts, last, self.store, force=policy.forced_by(action.id), own=action.id in policy.own)
        if action.id in policy.uploads:
            decision = of_upload(decision, partial(self.last.ran, action.id))
        if isinstance(decision, Hit) and not asks_elsewhere(decision, self.store):
            return decision
        cores = usable_cores()
        return Job(
            action=action,
            parts=parts,
            reasons=(PREPARED,) if isinstance(decision, Hit) else decision.reasons,
            before=last.outputs if last else None,
            threads=cores if action.pool == "alone" else max(1, cores // self.policy.jobs),
            memory_bytes=self.assessor.memory_estimate(action, self.outputs),
        )

    def _launch(self) -> Iterator[Event]:
        while (job := self.slots.next()) is not None:
            if self.stopping:
                yield from self._finish(job.outcome("skipped"))
            else:
                self.slots.start(job)
                if job.action.id in self.policy.uploads:
                    self.last.began(job.action.id)
                self.pool.submit(self._perform, job)
                yield ActionStarted(id=job.action.id, kind=job.action.kind, reasons=job.reasons)

    def _perform(self, job: Job) -> None:
        try:
            done = self.performer.perform(job, self.interrupt.inbox.put)
        except BaseException as error:  # noqa: BLE001 - a thread that ends without a message would leave the run waiting
            done = Done(job.outcome("failed", failure=failure_of(error)))
        self.interrupt.inbox.put(done)

    # -- what the threads report --------------------------------------------------------------------------------------

    def _receive(self) -> Iterator[Event]:
        message = self.interrupt.inbox.get()
        if message is None:
            self.runner.close()  # every running action now ends, as failed by the interrupt
        elif isinstance(message, ActionProgress):
            yield message
        else:
            self.slots.end(message.outcome.id)
            if message.damaged is not None:
                yield from self._repair(message.outcome, message.damaged)
            else:
                yield from self._finish(message.outcome)

    def _repair(self, outcome: Outcome, damaged: DamagedBlob) -> Iterator[Event]:
        """An input was damaged when it was read: build it again, and then this action."""
        repair = self.repairs.plan(self.graph.actions[outcome.id], damaged, self.outputs)
        if repair is None:
            failure = Failure(code="OBE56", message=f"{damaged}, and building it again did not help")
            yield from self._finish(structs.replace(outcome, failure=failure))
            return
        for maker in repair.restarted:
            self.outcomes.pop(maker)
            self.outputs.pop(maker)
        self.pending.wait_again(outcome.id, makers=repair.makers, restarted=repair.restarted)

    def _finish(self, outcome: Outcome) -> Iterator[Event]:
        yield self._finished(outcome)
        if outcome.outcome in SUCCEEDED:
            self.outputs[outcome.id] = {port: Digest(digest) for port, digest in outcome.outputs.items()}
            self.pending.release(outcome.id, finished=self.outcomes.keys())
        else:
            self.failed_fast = self.failed_fast or (self.policy.fail_fast and outcome.outcome == "failed")
            yield from self._block_users(outcome)

    def _block_users(self, outcome: Outcome) -> Iterator[Event]:
        """Everything that depends on a failed action is blocked; what depends on a skipped one is skipped, too."""
        name: OutcomeName = "skipped" if outcome.outcome == "skipped" else "blocked"
        for user in self.pending.users_of(outcome.id):
            if user not in self.outcomes and user not in self.slots.running:
                yield self._finished(_outcome(self.graph.actions[user], name, blocked_by=outcome.id))

    def _finished(self, outcome: Outcome) -> ActionFinished:
        self.outcomes[outcome.id] = outcome
        self.last.note(outcome)
        return ActionFinished(outcome=outcome)


def hit_outcome(action: Action, hit: Hit) -> Outcome:
    """The outcome of an action whose result is stored."""
    return Outcome(
        id=action.id, kind=action.kind, outcome="hit", facts=hit.trace.facts, outputs=hit.trace.outputs, key=hit.key
    )


def unreadable(error: OSError) -> Failure:
    """The failure for an input from outside that cannot be read, or for the store's own record of it."""
    if str(error.filename).endswith(DATABASE):
        return system_failure(error)
    return Failure(code="OBE55", message=f"input {error.filename!r} cannot be read: {error.strerror}")


def _outcome(
    action: Action, name: OutcomeName, *, failure: Failure | None = None, blocked_by: str | None = None
) -> Outcome:
    """An outcome of an action that was not run."""
    return Outcome(id=action.id, kind=action.kind, outcome=name, failure=failure, blocked_by=blocked_by)
