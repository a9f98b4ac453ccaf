"""Performs one action, in a thread: prepares its folder, drives a worker, checks the outputs and publishes them."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

import msgspec

from onnxbuild.execute.action_folder import ActionFolder, Rejected
from onnxbuild.execute.decide import PREPARED
from onnxbuild.execute.events import ActionProgress, Outcome, OutcomeName
from onnxbuild.execute.job import Job
from onnxbuild.execute.policy import Done, Interrupt, Policy, log_file
from onnxbuild.execute.sharing.compiled_elsewhere import is_compiled, is_final, without_compiler
from onnxbuild.machine import shortage
from onnxbuild.planning.action_graph import Action
from onnxbuild.printable import printable
from onnxbuild.protocol import Failure, Progress, Request, Response, in_order, plain, without_secrets
from onnxbuild.runners.environments import Unusable
from onnxbuild.runners.runner import Runner
from onnxbuild.secrets import redact_file, redacted
from onnxbuild.steps import Kinds
from onnxbuild.steps.kind import JOURNAL, runs_others_code
from onnxbuild.store.content import DamagedBlob
from onnxbuild.store.files import remove_tree
from onnxbuild.store.locks import Holder, Waiting
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Trace

Tell = Callable[[ActionProgress], None]


class Performer:
    """Performs jobs; holds what is the same for all jobs of a run."""

    def __init__(self, kinds: Kinds, store: Store, runner: Runner, policy: Policy, interrupt: Interrupt) -> None:
        self._kinds, self._store, self._runner = kinds, store, runner
        self._policy, self._interrupt = policy, interrupt

    def perform(self, job: Job, tell: Tell) -> Done:
        """Build the action, or take the result of another process that is building it. Every error is an outcome."""
        began = time.monotonic()
        try:
            with self._lock(job, tell):
                return Done(self._build(job, tell))
        except DamagedBlob as damaged:
            return Done(job.outcome("failed"), damaged)
        except Waiting:
            return Done(job.outcome("skipped"))
        except (Rejected, Unusable) as rejected:
            failure = rejected.failure
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no more than one failed action
            failure = failure_of(error)
        return Done(self._failed(job, failure, time.monotonic() - began))

    def _failed(self, job: Job, failure: Failure, seconds: float) -> Outcome:
        if self._interrupt.requested:
            return job.outcome("skipped")
        log = str(self._log(job.action))
        outcome = job.outcome("failed", failure=without_secrets(failure))
        return msgspec.structs.replace(outcome, seconds=seconds, log=log if os.path.exists(log) else None)

    def _lock(self, job: Job, tell: Tell) -> contextlib.AbstractContextManager[None]:
        def waits(holder: Holder | None) -> None:
            who = f"pid {holder.pid} ({holder.command})" if holder else "another process"
            tell(ActionProgress(id=job.action.id, text=f"waiting for {who}, which is building the same result"))

        return self._store.lock(job.parts.key, waits, lambda: self._interrupt.requested)

    def _build(self, job: Job, tell: Tell) -> Outcome:
        must_run = self._policy.forced_by(job.action.id) or job.action.id in self._policy.uploads
        if not must_run and (trace := self._obtain(job, tell)) is not None:
            return _found(job, trace)
        work = self._store.workspace()
        try:
            folder, response = self._attempt(job, work, tell)
            if response.failure is not None:
                raise Rejected(response.failure)
            folder.check_outputs()
            folder.check_sources_unchanged()
            trace = Trace(
                parts=plain(job.parts), outputs={}, facts=response.facts, seconds=response.seconds, worker="local"
            )
            recorded = self._store.publish(job.parts.key, trace, folder.outputs, is_final=is_final)
            self._record_for_others(job, recorded)
        finally:
            remove_tree(work)
        is_same = job.before is not None and dict(job.before) == dict(recorded.outputs)
        is_same = is_same and not self._kinds[job.action.kind].has_changed(response.facts)
        return _succeeded(job, "unchanged" if is_same else "built", recorded, response.seconds)

    def _record_for_others(self, job: Job, recorded: Trace) -> None:
        """Record a compiled result for machines that lack the compiler, too."""
        for others in without_compiler(job.parts, self._kinds) if is_compiled(recorded.facts) else ():
            self._store.record_again(others.key, msgspec.structs.replace(recorded, parts=plain(others)))

    def _obtain(self, job: Job, tell: Tell) -> Trace | None:
        """The result that another process has just built, or that the remote store has."""
        if job.action.id in self._policy.own:
            return self._store.lookup(job.parts.key, own=True)

        def arrived(done: float, total: float) -> None:
            if self._interrupt.requested:
                raise Waiting(job.action.id)
            done, total = round(done / 1e6, 1), round(total / 1e6, 1)
            tell(ActionProgress(id=job.action.id, text="MB from the remote store", done=done, total=total))

        return self._store.obtain(job.parts.key, arrived, is_final=is_final)

    def _attempt(self, job: Job, work: Path, tell: Tell) -> tuple[ActionFolder, Response]:
        """Run the worker; run it again after a pause if the failure may be temporary."""
        kind = self._kinds[job.action.kind]
        attempt = 1
        while True:
            folder = ActionFolder(work, job, tuple(kind.outputs), self._store)
            response = self._run_once(job, folder, tell)
            failure = response.failure
            is_last = attempt >= self._policy.attempts or self._interrupt.requested
            if failure is None or is_last or not (kind.transient and failure.transient):
                return folder, response
            pause = self._policy.backoff_seconds * 2 ** (attempt - 1)
            tell(ActionProgress(id=job.action.id, text=f"{failure.message}; trying again in {pause:g} s"))
            time.sleep(pause)
            remove_tree(work)
            attempt += 1

    def _run_once(self, job: Job, folder: ActionFolder, tell: Tell) -> Response:
        os.makedirs(self._policy.logs, exist_ok=True)
        request = self._request(job, folder)

        def forward(progress: Progress) -> None:
            text = redacted(progress.text)
            tell(ActionProgress(id=progress.id, text=text, done=progress.done, total=progress.total))

        try:
            response = self._in_time(job.action, self._runner.submit(job.action.toolchain, request, forward))
        finally:
            redact_file(request.log)
        response = in_order(without_secrets(response))
        if response.failure is None:
            folder.check_inputs_untouched()
        return response

    def _request(self, job: Job, folder: ActionFolder) -> Request:
        kind = self._kinds[job.action.kind]
        return Request(
            id=job.action.id,
            worker=kind.worker,
            params=job.action.params,
            inputs=folder.prepare(),
            outputs={port: str(place) for port, place in (folder.outputs | self._journal(job)).items()},
            log=str(self._log(job.action)),
            scratch=str(folder.scratch),
            threads=job.threads,
            confined=runs_others_code(kind, job.action.params),
            network=kind.network(job.action.params),
            warms=kind.warms,
        )

    def _journal(self, job: Job) -> dict[str, Path]:
        """The folder of an action that continues after a kill; a forced one begins anew."""
        if not self._kinds[job.action.kind].resumes(job.action.params):
            return {}
        return {JOURNAL: self._store.journal(job.parts.key, anew=job.action.id in self._policy.force)}

    def _in_time(self, action: Action, future: Future[Response]) -> Response:
        """The response to a request; a failure if it does not come within the time limit."""
        limit = self._policy.timeout_seconds or action.timeout_seconds
        try:
            return future.result(limit)
        except FutureTimeout:
            why = Failure(
                code="OBE62",
                message=f"did not end within {limit:g} seconds and was stopped",
                notes=(("hint", "if it needs longer: `--timeout SECONDS`, or `timeout:` in the model"),),
            )
            self._runner.cancel(action.id, why)
            return future.result()

    def _log(self, action: Action) -> Path:
        return log_file(Path(self._policy.logs), action.id)


def _found(job: Job, trace: Trace) -> Outcome:
    """A hit; without a reason if it is the prepared result that the store had before it asked for a better one."""
    is_as_before = job.reasons == (PREPARED,) and not is_final(trace)
    return _succeeded(msgspec.structs.replace(job, reasons=()) if is_as_before else job, "hit", trace, 0.0)


def _succeeded(job: Job, name: OutcomeName, trace: Trace, seconds: float) -> Outcome:
    return msgspec.structs.replace(job.outcome(name), outputs=trace.outputs, facts=trace.facts, seconds=seconds)


def failure_of(error: BaseException) -> Failure:
    """The failure for an error of the system, and for what is a bug of ours."""
    if isinstance(error, OSError):
        return system_failure(error)
    if isinstance(error, UnicodeEncodeError):
        return Failure(code="OBE77", message=f"`{printable(error.object)}` is not UTF-8")
    if lacking := shortage(error):
        return Failure(code="OBE54", message=lacking, notes=(("hint", "run fewer actions at once (`-j 1`)"),))
    return Failure(code="OBE99", message=f"BUG: {type(error).__name__}: {error}")


def system_failure(error: OSError) -> Failure:
    """The failure for an error of the operating system."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Failure(
            code="OBE52",
            message="the disk is full",
            notes=(("hint", "`onnxbuild gc` removes results that no manifest needs; `--store DIR` uses another disk"),),
        )
    message = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    return Failure(code="OBE54", message=message)
