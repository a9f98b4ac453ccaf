"""Executes a plan and writes its outputs, again if that uncovers damage; then shares what was built."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import structs

from onnxbuild.commands.building.best_first import with_best
from onnxbuild.commands.building.deliverable import deliverable
from onnxbuild.commands.building.finished import Result
from onnxbuild.commands.publishing.papers import Papers
from onnxbuild.commands.workspace import Session
from onnxbuild.deliver.out_folder import deliver
from onnxbuild.deliver.write_back import share
from onnxbuild.execute.events import ActionFinished, Event, Outcome, RunFinished, RunStarted
from onnxbuild.execute.policy import Interrupt, Policy
from onnxbuild.execute.schedule import execute
from onnxbuild.report.progress.reporter import Reporter
from onnxbuild.report.progress.uploads import Uploads
from onnxbuild.store.content import DamagedBlob

# Writing outputs may find a damaged file, which is then built again; more rounds than this mean a broken disk.
_ROUNDS = 4


def run_session(
    opened: Session, policy: Policy, out: Path, reporter: Reporter, interrupt: Interrupt | None = None
) -> Result:
    """Execute, deliver and share. Every event goes to the reporter."""
    interrupt = interrupt or Interrupt()
    try:
        result = _execute_and_deliver(opened, policy, out, reporter, interrupt)
        reporter.event(_finished(result))
    finally:
        reporter.close()
    if result.interrupted:
        return result
    # Only now: a benchmark would also measure an upload that runs at the same time.
    shared = share(
        with_best(opened, result.outcomes).graph,
        result.outcomes,
        opened.store,
        Uploads(),
        stop=lambda: interrupt.requested,
    )
    return structs.replace(result, shared=shared)


def _finished(result: Result) -> RunFinished:
    return RunFinished(
        outcomes=result.outcomes,
        seconds=result.seconds,
        interrupted=result.interrupted,
        undelivered={one.folder: one.error or "" for one in result.deliveries if one.state == "failed"},
    )


def _execute_and_deliver(
    opened: Session, policy: Policy, out: Path, reporter: Reporter, interrupt: Interrupt
) -> Result:
    began = time.monotonic()
    outcomes: dict[str, Outcome] = {}
    for _ in range(_ROUNDS):
        final = _execute(opened, policy, reporter, interrupt, again=bool(outcomes))
        outcomes = _merged(outcomes, final.outcomes)
        opened, final = _best_ones(opened, final, policy, reporter, interrupt)
        outcomes = _merged(outcomes, final.outcomes)
        try:
            whole, known = deliverable(opened, outcomes)
            deliveries = deliver(whole.graph, known, opened.store, out, Papers(whole).card)
        except DamagedBlob:
            policy = structs.replace(policy, force=frozenset())
            continue
        return Result(
            outcomes=outcomes,
            deliveries=deliveries,
            seconds=time.monotonic() - began,
            interrupted=final.interrupted,
        )
    raise OSError(5, "stored files are damaged as soon as they are written", str(opened.store.root))


def _best_ones(
    opened: Session, final: RunFinished, policy: Policy, reporter: Reporter, interrupt: Interrupt
) -> tuple[Session, RunFinished]:
    """Once the best variants are known, run what only these get."""
    extended = opened if final.interrupted else with_best(opened, final.outcomes)
    if extended is opened:
        return opened, final
    added = frozenset(extended.graph.actions) - frozenset(opened.graph.actions)
    policy = structs.replace(policy, force=added if policy.force else frozenset())
    return extended, _execute(extended, policy, reporter, interrupt, again=True)


def _execute(opened: Session, policy: Policy, reporter: Reporter, interrupt: Interrupt, *, again: bool) -> RunFinished:
    events = execute(
        opened.graph,
        kinds=opened.kinds,
        store=opened.store,
        runner=opened.runner,
        policy=policy,
        interrupt=interrupt,
        complete=Papers(opened).complete,
    )
    return _follow(events, reporter, again=again)


def _follow(events: Iterator[Event], reporter: Reporter, *, again: bool) -> RunFinished:
    """Pass on all events but the last; in a second round, only those of what it builds."""
    for event in events:
        if isinstance(event, RunFinished):
            return event
        if not (again and _is_known(event)):
            reporter.event(event)
    raise AssertionError("BUG: a run without an end")


def _is_known(event: Event) -> bool:
    """Whether an event of a second round repeats one of the first."""
    return isinstance(event, RunStarted) or (isinstance(event, ActionFinished) and event.outcome.outcome == "hit")


def _merged(before: Mapping[str, Outcome], now: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """A second round finds hits where the first one built: the outcome of the first is kept."""
    return {
        name: before[name] if name in before and outcome.outcome == "hit" else outcome for name, outcome in now.items()
    }
