"""The build behind `onnxbuild run`: plan, execute, deliver, report, and leave a receipt when all is well."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from types import FrameType
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.commands.workspace import Asked, Session, default_jobs, memory_limit, session
from onnxbuild.deliver.out_folder import Delivery, deliver
from onnxbuild.deliver.write_back import Shared, share
from onnxbuild.execute.events import SUCCEEDED, Event, Outcome, RunFinished
from onnxbuild.execute.policy import Interrupt, Policy
from onnxbuild.execute.schedule import execute
from onnxbuild.receipts.receipt import Standing, write_receipt
from onnxbuild.receipts.remembered_plan import Before, hung_on, parts_of, recall, remember
from onnxbuild.report.progress.jsonl import action_line, encode, summary_line
from onnxbuild.report.progress.reporter import Both, Reporter, reporter_for
from onnxbuild.report.progress.uploads import Uploads
from onnxbuild.report.result.profile import Profile, critical_path_in_words
from onnxbuild.report.result.summary import closing_line, summary
from onnxbuild.report.terminal import wants_colour, width_of
from onnxbuild.store.content import DamagedBlob

# The live view hides the cursor; leaving at once skips what would show it again.
_SHOW_CURSOR = b"\x1b[?25h"

# Laying out may find a damaged file, which is then built again; more rounds than this mean a broken disk.
_ROUNDS = 4


class Result(Struct, frozen=True, kw_only=True):
    """What a run came to: every outcome by id, and what became of each variant's folder."""

    outcomes: Mapping[str, Outcome]
    deliveries: tuple[Delivery, ...]
    seconds: float
    interrupted: bool = False
    shared: Shared | None = None  # where there is a remote store to write to

    @property
    def exit_code(self) -> int:
        """0 done, 1 an action failed or could not be begun, 130 interrupted."""
        if self.interrupted:
            return 130
        laid_out = all(delivery.state != "failed" for delivery in self.deliveries)
        return 0 if laid_out and all(outcome.outcome in SUCCEEDED for outcome in self.outcomes.values()) else 1


def asked_for(options: Mapping[str, Any]) -> Asked:
    """The part of the command line that all commands share."""
    return Asked(
        manifest=options["manifest"],
        selectors=tuple(options.get("selectors") or ()),
        defines=dict(options.get("define") or ()),
        store=options.get("store"),
        remote=options.get("remote"),
        remote_readonly=bool(options.get("remote_readonly")),
        offline=bool(options.get("offline")),
    )


def build(options: Mapping[str, Any], question: Mapping[str, Any], receipt: Standing | None = None) -> int:
    """Run a manifest as the options say; the exit code. Errors: DiagnosticError.

    `receipt`: of a run of the same, whose plan still holds; only what has moved since is then decided about.
    """
    jobs = options["jobs"] or default_jobs()
    asked = asked_for(options)
    if options["dry_run"]:
        return show_plan(asked, as_json=options["json"], force=options["force"])
    began_ns = time.time_ns()
    # A program that reads events gets one for each action, in the order in which they are decided.
    before = None if options["json"] else recall(receipt)
    with session(asked, write=True, jobs=jobs, remembered=before.plan() if before else None) as opened:
        out = Path(options["out"]).absolute() if options["out"] else Path(asked.manifest).absolute().parent / "out"
        reporter = reporter_for(
            "json" if options["json"] else "auto", sys.stdout if options["json"] else sys.stderr, graph=opened.graph
        )
        policy = Policy(
            scope=opened.scope,
            logs=str(opened.state / "logs"),
            jobs=jobs,
            memory_bytes=memory_limit(),
            force=opened.named if options["force"] else frozenset(),
            fail_fast=options["fail_fast"],
            timeout_seconds=options["timeout"],
        )
        profile = Profile()
        with interruptible() as interrupt:
            result = run_session(opened, policy, out, Both(reporter, profile), interrupt)
        if before:
            result = msgspec.structs.replace(result, outcomes=before.completed(result.outcomes))
        if options["profile"]:
            profile.write(Path(options["profile"]))
        _note_last(opened, asked)
        _say(opened, result, asked, as_json=options["json"])
        # What could not be shared is offered again by the next run, which a receipt would spare.
        if result.exit_code == 0 and (result.shared is None or result.shared.complete):
            answer = _answer(opened, result, asked, as_json=options["json"])
            # Before the receipt: runs that are answered by it have no reason to look for what was left here.
            opened.store.release()
            with contextlib.suppress(OSError):
                _leave_receipt(opened, result, question, began_ns, answer, before)
        return result.exit_code


def run_session(
    opened: Session, policy: Policy, out: Path, reporter: Reporter, interrupt: Interrupt | None = None
) -> Result:
    """Execute and deliver, again where laying out uncovers damage. Every event goes to the reporter."""
    began = time.monotonic()
    outcomes: dict[str, Outcome] = {}
    interrupted = False
    try:
        for _ in range(_ROUNDS):
            events = execute(
                opened.graph,
                kinds=opened.kinds,
                store=opened.store,
                runner=opened.runner,
                policy=policy,
                interrupt=interrupt,
            )
            final = _follow(events, reporter, again=bool(outcomes))
            interrupted = final.interrupted
            outcomes = _merged(outcomes, final.outcomes)
            try:
                deliveries = tuple(
                    deliver(variant, opened.graph, outcomes, opened.store, out) for variant in opened.graph.variants
                )
                break
            except DamagedBlob:
                policy = msgspec.structs.replace(policy, force=frozenset())
        else:
            raise OSError(5, "stored files are damaged as soon as they are written", str(opened.store.root))
        seconds = time.monotonic() - began
        reporter.event(RunFinished(outcomes=outcomes, seconds=seconds, interrupted=interrupted))
    finally:
        reporter.close()
    # Only now: an upload beside a benchmark would be measured with it.
    stop = interrupt if interrupt is not None else Interrupt()
    shared = (
        None if interrupted else share(opened.graph, outcomes, opened.store, Uploads(), stop=lambda: stop.requested)
    )
    return Result(outcomes=outcomes, deliveries=deliveries, seconds=seconds, interrupted=interrupted, shared=shared)


def _follow(events: Iterator[Event], reporter: Reporter, *, again: bool) -> RunFinished:
    """Pass events on, all but the last (and, in a second round, all but what it builds)."""
    for event in events:
        if isinstance(event, RunFinished):
            return event
        hit = getattr(getattr(event, "outcome", None), "outcome", None) == "hit"
        if not again or (event.__class__.__name__ != "RunStarted" and not hit):
            reporter.event(event)
    raise AssertionError("BUG: a run without an end")


def _merged(before: Mapping[str, Outcome], now: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """A second round finds hits where the first one built: the first one's word stands."""
    return {
        name: before[name] if name in before and outcome.outcome == "hit" else outcome for name, outcome in now.items()
    }


def show_plan(asked: Asked, *, as_json: bool, force: bool = False) -> int:
    """What a run would do and why, on stdout; the exit code."""
    from onnxbuild.execute.preview import preview
    from onnxbuild.report.result.reasons import explain_action

    with session(asked, write=False) as opened:
        forced = opened.named if force else frozenset[str]()
        found = {
            outcome.id: outcome
            for outcome in preview(
                opened.graph,
                kinds=opened.kinds,
                store=opened.store,
                runner=opened.runner,
                scope=opened.scope,
                force=forced,
            )
        }
        if as_json:
            for outcome in found.values():
                print(encode(action_line(outcome)))
            print(encode(summary_line(found.values())))
        else:
            for outcome in found.values():
                print(explain_action(outcome, opened.graph, found))
            runs = sum(outcome.outcome == "run" for outcome in found.values())
            print(f"{runs} of {len(found)} actions would run" if runs else closing_line(found, 0.0))
    return 0 if all(outcome.outcome != "failed" for outcome in found.values()) else 1


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """SIGINT and SIGTERM end the run in order; a second one ends the process at once."""
    interrupt = Interrupt()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if interrupt.requested:
            os.write(2, _SHOW_CURSOR)
            os._exit(130)  # the workers die with us
        interrupt.request()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _note_last(opened: Session, asked: Asked) -> None:
    """Which manifest was run last here, for `explain ID`; a folder that cannot be written costs no more than that."""
    with contextlib.suppress(OSError):
        opened.state.mkdir(exist_ok=True)
        (opened.state / "last").write_text(f"{Path(asked.manifest).name}\n", encoding="utf-8")


def _say(opened: Session, result: Result, asked: Asked, *, as_json: bool) -> None:
    for delivery in result.deliveries:
        if delivery.state == "mended":
            names = ", ".join(f"`{name}`" for name in delivery.edited)
            print(f"{delivery.folder} had been edited ({names}): mended from the store", file=sys.stderr)
        elif delivery.state == "withheld" and os.path.isdir(delivery.folder) and not result.interrupted:
            print(f"{delivery.folder} still holds the last good build", file=sys.stderr)
        elif delivery.state == "failed":
            print(f"{delivery.folder} could not be laid out: {delivery.error}", file=sys.stderr)
    if result.shared is not None and result.shared.results and opened.store.remote is not None:
        told = f"shared {result.shared.results} results ({result.shared.bytes / 1e6:.1f} MB)"
        print(f"{told} with {opened.store.remote.address.shown}", file=sys.stderr)
    if not as_json:
        print(_text(opened, result, asked, width=width_of(sys.stdout), colour=wants_colour(sys.stdout)))
        if path := critical_path_in_words(opened.graph, result.outcomes):
            print(path)


def _text(opened: Session, result: Result, asked: Asked, *, width: int | None = None, colour: bool = False) -> str:
    return summary(
        opened.whole.only(frozenset(result.outcomes)),
        result.outcomes,
        seconds=result.seconds,
        named=opened.named,
        again=f"onnxbuild run {quote(asked.manifest)}",
        interrupted=result.interrupted,
        width=width,
        colour=colour,
    )


def _answer(opened: Session, result: Result, asked: Asked, *, as_json: bool) -> str:
    """What a run says that finds all of this up to date."""
    hits = _as_hits(result.outcomes)
    if as_json:
        lines = [encode(action_line(outcome)) for outcome in hits.values()] + [encode(summary_line(hits.values()))]
        return "\n".join(lines) + "\n"
    return _text(opened, msgspec.structs.replace(result, outcomes=hits, seconds=0.0), asked) + "\n"


def _as_hits(outcomes: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
    return {
        name: msgspec.structs.replace(outcome, outcome="hit", reasons=(), seconds=0.0, log=None)
        for name, outcome in outcomes.items()
    }


def _leave_receipt(
    opened: Session, result: Result, question: Mapping[str, Any], began_ns: int, answer: str, before: Before | None
) -> None:
    """Leave a receipt; the parts of a former one that have not moved stay as they are. Errors: OSError."""
    whole = opened.whole.only(frozenset(result.outcomes))
    parts = before.memory.parts if before else parts_of(whole)
    moved = sorted(before.receipt.moved) if before else range(len(parts))
    fresh = hung_on([parts[number] for number in moved], opened.graph, result.deliveries, opened.store)
    if fresh is None:
        return
    read = before.receipt.read if before else [p for p in map(os.path.abspath, opened.watched) if os.path.exists(p)]
    files: list[Any] = list(before.receipt.parts) if before else [None] * len(parts)
    for number, part in zip(moved, fresh, strict=True):
        files[number] = part
    write_receipt(
        str(opened.state),
        question,
        read=read,
        began_ns=began_ns,
        made=[str(opened.store.root / "blobs")],
        parts=files,
        environment=opened.manifest.environment,
        answer=answer,
        memory=remember(msgspec.structs.replace(opened, graph=whole), parts, _as_hits(result.outcomes)),
    )
