"""A build, phase by phase: open, execute and deliver and share, report, leave a receipt when all is well."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from onnxbuild.commands.building.best_first import with_best
from onnxbuild.commands.building.closing import report
from onnxbuild.commands.building.finished import Finished, Result
from onnxbuild.commands.building.interrupts import interruptible
from onnxbuild.commands.building.left_behind import leave_receipt, note_last
from onnxbuild.commands.building.rounds import run_session
from onnxbuild.commands.building.tidying import tidy
from onnxbuild.commands.parsing.options import RunOptions
from onnxbuild.commands.publishing.local_destinations import lacking_uploads
from onnxbuild.commands.sharing.revalidation import own_actions
from onnxbuild.commands.state.locations import out_folder
from onnxbuild.commands.state.out_place import refuse_link
from onnxbuild.commands.workspace import Session, default_jobs, memory_limit, session
from onnxbuild.execute.policy import Policy
from onnxbuild.planning.packages.asked_uploads import uploads_in
from onnxbuild.receipts.receipt import Standing
from onnxbuild.receipts.remembered_plan import recall
from onnxbuild.report.progress.reporter import Both, Reporter, reporter_for
from onnxbuild.report.progress.verbose import WithLogs
from onnxbuild.report.result.profile import Profile

# What follows the work, in this order. The receipt comes last, because it vouches for all of it.
_PHASES: tuple[Callable[[Finished], None], ...] = (note_last, report, tidy, leave_receipt)


def build(options: RunOptions, question: Mapping[str, Any], receipt: Standing | None = None) -> int:
    """Run a manifest as the options say; return the exit code. Errors: DiagnosticError.

    `receipt`: that of an earlier run with the same arguments whose plan still holds; only changes since are decided.
    """
    began_ns = time.time_ns()
    refuse_link(options.asked.manifest, options.out)
    before = recall(receipt) if _may_leave_out(options) else None
    remembered = before.plan() if before else None
    asked = options.asked._replace(out=str(_out(options)))
    with session(asked, write=True, jobs=_jobs(options), remembered=remembered) as opened:
        profile = Profile()
        result = _execute(opened, options, profile)
        if before:
            result = structs.replace(result, outcomes=before.completed(result.outcomes))
        finished = Finished(
            options=options,
            opened=with_best(opened, result.outcomes),
            result=result,
            question=question,
            began_ns=began_ns,
            before=before,
        )
        for phase in _PHASES:
            phase(finished)
        unwritten = _write_profile(profile, options.profile) if options.profile else 0
        return result.exit_code or unwritten


def _may_leave_out(options: RunOptions) -> bool:
    """Whether unchanged actions may have no event: programs and verbose runs get one for each action."""
    return not options.as_json and not options.verbose


def _execute(opened: Session, options: RunOptions, profile: Profile) -> Result:
    with interruptible() as interrupt:
        reporter = Both(_reporter(opened, options), profile)
        return run_session(opened, _policy(opened, options), _out(options), reporter, interrupt)


def _write_profile(profile: Profile, path: str) -> int:
    """Write it, and return the exit code. The run has already ended, and its own result stands."""
    try:
        profile.write(Path(path))
    except OSError as error:
        print(f"the profile `{path}` could not be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _reporter(opened: Session, options: RunOptions) -> Reporter:
    if options.as_json:
        return reporter_for("json", sys.stdout)
    if options.quiet:
        return reporter_for("quiet", sys.stderr)
    if options.verbose:
        return WithLogs(reporter_for("lines", sys.stderr, graph=opened.graph), sys.stderr, opened.logs)
    return reporter_for("auto", sys.stderr, graph=opened.graph)


def _policy(opened: Session, options: RunOptions) -> Policy:
    return Policy(
        scope=opened.scope,
        logs=str(opened.logs),
        jobs=_jobs(options),
        memory_bytes=memory_limit(),
        force=opened.plan.named if options.force else frozenset(),
        compare=uploads_in(opened.graph) if options.asked.check_published else frozenset(),
        lacking=lacking_uploads(opened.graph, opened.store, opened.scope),
        uploads=uploads_in(opened.graph),
        own=own_actions(opened.plan.whole, revalidate=options.revalidate),
        fail_fast=options.fail_fast,
        timeout_seconds=options.timeout_seconds,
    )


def _jobs(options: RunOptions) -> int:
    return options.jobs or default_jobs()


def _out(options: RunOptions) -> Path:
    return out_folder(options.asked.manifest, options.out)
