"""One action, done: inputs laid out, a worker driven, its claims checked, its outputs published. Runs in a thread."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

import msgspec

from onnxbuild.digest import Digest
from onnxbuild.execute.events import ActionProgress, Outcome, Reason
from onnxbuild.execute.key import KeyParts
from onnxbuild.execute.policy import Done, Interrupt, Policy, log_file
from onnxbuild.planning.action_graph import Action, FilesSource, OutputRef
from onnxbuild.protocol import Failure, Progress, Request, Response, plain
from onnxbuild.runners.environments import Unusable
from onnxbuild.runners.runner import Runner
from onnxbuild.steps import Kinds
from onnxbuild.store.content import DamagedBlob
from onnxbuild.store.files import remove_tree, walk_files
from onnxbuild.store.locks import Holder, Waiting
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Trace


class _Rejected(Exception):  # noqa: N818 - carries a failure to the one place that reports it
    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class Performer:
    """Does actions; holds what is the same for all of a run."""

    def __init__(self, kinds: Kinds, store: Store, runner: Runner, policy: Policy, interrupt: Interrupt) -> None:
        self._kinds, self._store, self._runner = kinds, store, runner
        self._policy, self._interrupt = policy, interrupt

    def perform(
        self,
        action: Action,
        parts: KeyParts,
        reasons: tuple[Reason, ...],
        before: Mapping[str, Digest] | None,
        threads: int,
        tell: Callable[[ActionProgress], None],
    ) -> Done:
        """Build the action, or take the result of another process that builds it at this moment.

        `before`: the outputs of its last success, to tell `built` from `unchanged`. Every error is an outcome.
        """
        began = time.monotonic()
        blank = Outcome(id=action.id, kind=action.kind, outcome="failed", reasons=reasons, key=parts.key)

        def waits(holder: Holder | None) -> None:
            who = f"pid {holder.pid} ({holder.command})" if holder else "another process"
            tell(ActionProgress(id=action.id, text=f"waiting for {who}, which builds the same"))

        try:
            with self._store.lock(parts.key, waits, lambda: self._interrupt.requested):
                return Done(self._build(action, parts, blank, before, threads, tell))
        except DamagedBlob as damaged:
            return Done(blank, damaged)
        except Waiting:
            return Done(msgspec.structs.replace(blank, outcome="skipped"))
        except (_Rejected, Unusable) as rejected:
            failure = rejected.failure
        except OSError as error:
            failure = system_failure(error)
        except Exception as error:  # noqa: BLE001 - an action that ends in a bug of ours is still one failed action
            failure = Failure(code="OBE99", message=f"BUG: {type(error).__name__}: {error}")
        if self._interrupt.requested:
            return Done(msgspec.structs.replace(blank, outcome="skipped"))
        log = str(self._log(action))
        seconds = time.monotonic() - began
        return Done(
            msgspec.structs.replace(blank, failure=failure, seconds=seconds, log=log if os.path.exists(log) else None)
        )

    def _build(
        self,
        action: Action,
        parts: KeyParts,
        blank: Outcome,
        before: Mapping[str, Digest] | None,
        threads: int,
        tell: Callable[[ActionProgress], None],
    ) -> Outcome:
        if action.id not in self._policy.force and (trace := self._obtain(action, parts, tell)) is not None:
            return _succeeded(blank, "hit", trace, 0.0)
        work = self._store.workspace()
        try:
            response = self._attempt(action, parts, work, threads, tell)
            if response.failure is not None:
                raise _Rejected(response.failure)
            kind = self._kinds[action.kind]
            ports = {port: work / "outputs" / port for port in kind.outputs}
            self._check_claims(action, parts, ports)
            trace = Trace(
                parts=plain(parts), outputs={}, facts=response.facts, seconds=response.seconds, worker="local"
            )
            recorded = self._store.publish(parts.key, trace, ports)
        finally:
            remove_tree(work)
        same = before is not None and dict(before) == dict(recorded.outputs)
        return _succeeded(blank, "unchanged" if same else "built", recorded, response.seconds)

    def _obtain(self, action: Action, parts: KeyParts, tell: Callable[[ActionProgress], None]) -> Trace | None:
        """The result that another process has just made, or another machine before."""

        def arrived(done: float, total: float) -> None:
            if self._interrupt.requested:
                raise Waiting(action.id)
            megabytes = [round(size / 1e6, 1) for size in (done, total)]
            tell(ActionProgress(id=action.id, text="MB from the remote store", done=megabytes[0], total=megabytes[1]))

        return self._store.obtain(parts.key, arrived)

    def _attempt(
        self, action: Action, parts: KeyParts, work: Path, threads: int, tell: Callable[[ActionProgress], None]
    ) -> Response:
        """Run the worker, again after a pause where the failure may pass by itself."""
        kind = self._kinds[action.kind]
        attempt = 1
        while True:
            response = self._run_once(action, parts, work, threads, tell)
            failure = response.failure
            last = attempt >= self._policy.attempts or self._interrupt.requested
            if failure is None or last or not (kind.transient and failure.transient):
                return response
            pause = self._policy.backoff_seconds * 2 ** (attempt - 1)
            tell(ActionProgress(id=action.id, text=f"{failure.message}; trying again in {pause:g} s"))
            time.sleep(pause)
            remove_tree(work)
            attempt += 1

    def _run_once(
        self, action: Action, parts: KeyParts, work: Path, threads: int, tell: Callable[[ActionProgress], None]
    ) -> Response:
        inputs = self._lay_out_inputs(action, parts, work / "inputs")
        outputs = {port: work / "outputs" / port for port in self._kinds[action.kind].outputs}
        scratch = work / "scratch"
        os.makedirs(self._policy.logs, exist_ok=True)
        for folder in (scratch, *outputs.values()):
            folder.mkdir(parents=True)
        untouched = _stamps(work / "inputs")
        request = Request(
            id=action.id,
            worker=self._kinds[action.kind].worker,
            params=action.params,
            inputs=inputs,
            outputs={port: str(folder) for port, folder in outputs.items()},
            log=str(self._log(action)),
            scratch=str(scratch),
            threads=threads,
        )

        def forward(progress: Progress) -> None:
            tell(ActionProgress(id=progress.id, text=progress.text, done=progress.done, total=progress.total))

        future = self._runner.submit(action.toolchain, request, forward)
        limit = self._policy.timeout_seconds or action.timeout_seconds
        try:
            response = future.result(limit)
        except FutureTimeout:
            why = Failure(
                code="OBE62",
                message=f"did not end within {limit:g} seconds and was stopped",
                notes=(("hint", "`--timeout SECONDS`, or `timeout:` in the model, where it needs longer"),),
            )
            self._runner.cancel(action.id, why)
            response = future.result()
        if response.failure is None and _stamps(work / "inputs") != untouched:
            raise _Rejected(Failure(code="OBE63", message="the worker changed its inputs, which are read-only"))
        return response

    def _lay_out_inputs(self, action: Action, parts: KeyParts, folder: Path) -> dict[str, str]:
        places: dict[str, str] = {}
        for port, source in action.inputs.items():
            place = folder / port
            place.mkdir(parents=True)
            places[port] = str(place)
            if isinstance(source, FilesSource):
                _link(source, place)
            elif isinstance(source, OutputRef):
                self._store.content.view(self._store.tree(parts.inputs[port]), place)
            else:
                (place / "rows.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in source.rows))
        return places

    def _check_claims(self, action: Action, parts: KeyParts, ports: Mapping[str, Path]) -> None:
        """Hold the worker to its word: every output is there, and no input moved while it ran."""
        for port, folder in ports.items():
            if next(walk_files(folder), None) is None:
                raise _Rejected(Failure(code="OBE64", message=f"the worker left output `{port}` empty"))
            for name, entry in walk_files(folder):
                if not stat.S_ISREG(entry.stat().st_mode):
                    message = f"the worker left `{name}` in output `{port}`, which is no file"
                    raise _Rejected(Failure(code="OBE64", message=message))
        for port, source in action.inputs.items():
            if isinstance(source, FilesSource):
                now = self._store.digest_files(source.root, source.files)
                if now.digest != parts.inputs[port]:
                    hint = ("hint", "run again: nothing of this was recorded")
                    message = f"input `{port}` changed while the action ran ({source.root})"
                    raise _Rejected(Failure(code="OBE57", message=message, notes=(hint,)))

    def _log(self, action: Action) -> Path:
        return log_file(Path(self._policy.logs), action.id)


def _succeeded(blank: Outcome, name: str, trace: Trace, seconds: float) -> Outcome:
    return msgspec.structs.replace(blank, outcome=name, outputs=trace.outputs, facts=trace.facts, seconds=seconds)


def _link(source: FilesSource, place: Path) -> None:
    """The files of a source and no others: a neighbour that the worker saw would be missing from the key."""
    for name in source.files:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(os.path.join(source.root, name))


def _stamps(folder: Path) -> Mapping[str, tuple[int, int]]:
    """Size and mtime of every input from the store; ctime moves with each hard link that another action makes.

    Links lead to files from outside, which anybody may change: they are compared by content afterwards.
    """
    if not folder.exists():
        return {}
    stored = ((name, entry.stat()) for name, entry in walk_files(folder) if not entry.is_symlink())
    return {name: (status.st_size, status.st_mtime_ns) for name, status in stored}


def system_failure(error: OSError) -> Failure:
    """What the operating system refused, in words."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Failure(
            code="OBE52",
            message="the disk is full",
            notes=(("hint", "`onnxbuild gc` frees what no manifest needs; `--store DIR` names another disk"),),
        )
    message = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    return Failure(code="OBE54", message=message)
