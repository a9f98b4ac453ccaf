"""`verify --revalidate`: runs the checks of a folder again, on its files as they are now.

The account of a folder has every step with its params and the digests of its inputs. So the steps that lead to what the
model was compared with are planned again, from the same sources, and run by the same engine and workers as a build, in
a store that is thrown away. A source that cannot be found, or that has other content now, is a failure.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from onnxbuild.commands.building.interrupts import interruptible
from onnxbuild.commands.workspace import memory_limit
from onnxbuild.deliver.checking.account import Account, StepMade
from onnxbuild.deliver.package_rows import skipped_because
from onnxbuild.deliver.provenance import PROVENANCE
from onnxbuild.deliver.variant_rows import broken_metrics
from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.execute.events import SUCCEEDED, Outcome, RunFinished
from onnxbuild.execute.policy import Policy
from onnxbuild.execute.schedule import execute
from onnxbuild.machine import usable_cores
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource, Input, OutputRef
from onnxbuild.regular_files import is_safe_name
from onnxbuild.report.progress.reporter import reporter_for
from onnxbuild.report.result.failed_actions import failures
from onnxbuild.runners.local import LocalRunner
from onnxbuild.steps import Kinds, all_kinds
from onnxbuild.steps.compiling.compiled_record import RECORD
from onnxbuild.steps.dataset_rows import PORT as ROWS
from onnxbuild.steps.fetch import FETCH
from onnxbuild.steps.kind import Kind, runs_others_code
from onnxbuild.store.store import Store

_MODEL, _FILES = "model", "files"
_SCOPE = "verify"
# The account may come from anybody, so it gets nothing else run. What a model is compared with is made by these alone.
_MAKES_REFERENCE = frozenset({"fetch", "prepare"})


_BY_DIGEST = "`--source PATH` names a folder or a file that the build has read; it is known by its digest"
_BY_SIGNER = "check who has signed the folder: `--trust FILE` names the public key of its signer"


class Lacking(Exception):  # noqa: N818 - a reason, which becomes a diagnostic
    """Something that the checks need and that is not at hand."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def check_again(
    folder: Path, account: Account, places: Sequence[str], work: Path, *, offline: bool, is_signed: bool = False
) -> tuple[tuple[str, ...], list[Diagnostic]]:
    """The checks that passed again, and what is wrong.

    `places`: folders and files that the build may have read. `work`: an empty folder, or that of another check, whose
    results this one uses. `is_signed`: whether a key that the user trusts has signed the folder. Only then does a check
    run that runs code of the folder.
    """
    kinds = all_kinds()
    with Store(work / "store") as store:
        try:
            if not is_signed:
                refuse_own_code(account, kinds)
            planner = Planner(folder, account, store, [Path(one).absolute() for one in places], kinds, offline=offline)
            graph = planner.graph()
        except Lacking as lacking:
            message = f"`{folder}` cannot be validated again: {lacking}"
            return (), [fault("OBE180", message, hint=lacking.hint)]
        outcomes = _run(graph, store, work / "logs", kinds)
        problems = [*failures(graph, outcomes), *_other(account, outcomes), *_unproven(folder, account, outcomes)]
    passed = {name for name, one in outcomes.items() if one.outcome in SUCCEEDED and skipped_because(one) is None}
    checks = tuple(step.kind for step in account.checks if step.id in passed)
    if not problems and len(checks) != len(account.checks):
        problems = [fault("OBE180", f"`{folder}` was not validated: the checks were interrupted")]
    return (() if problems else checks), problems


def refuse_own_code(account: Account, kinds: Kinds) -> None:
    """Refuse checks that run code of the folder, such as `app.py` of a server. Errors: Lacking."""
    for check in account.checks:
        if check.kind in kinds and kinds[check.kind].runs_inputs:
            raise Lacking(f"`{check.id}` runs code of the folder, and no trusted key has signed it", _BY_SIGNER)
    # A backend loads native code, or a library that its record names. Some file systems ignore case.
    if any(name.lower() == RECORD for name in account.files):
        message = f"the backend of `{RECORD}` runs code of the folder, and no trusted key has signed it"
        raise Lacking(message, _BY_SIGNER)


class Planner:
    """Plans the checks of an account, and the steps that make what they compare the model with."""

    def __init__(
        self, folder: Path, account: Account, store: Store, places: Sequence[Path], kinds: Kinds, *, offline: bool
    ) -> None:
        self._folder, self._account, self._store, self._places = folder.absolute(), account, store, places
        self._kinds, self._offline = kinds, offline
        makers = (step for step in account.steps if step.kind in _MAKES_REFERENCE)
        self._makers = {digest: (step, port) for step in makers for port, digest in step.outputs.items()}
        self._actions: dict[str, Action] = {}
        self._pending: set[str] = set()

    def graph(self) -> ActionGraph:
        """The actions, each after what it needs. Errors: Lacking."""
        if not self._account.checks:
            raise Lacking("its build had no validation")
        for check in self._account.checks:
            names = tuple(sorted(name for name in self._account.files if name != PROVENANCE))
            self._add(check, {_MODEL: FilesSource(str(self._folder), names)})
        return ActionGraph(self._actions)

    def _add(self, step: StepMade, known: Mapping[str, Input]) -> None:
        made = self._actions.get(step.id)
        if made is not None and (made.kind, made.params) != (step.kind, step.params):
            raise Lacking(f"two of its steps are called `{step.id}`")
        if made is not None:
            return
        kind = self._kinds.get(step.kind)
        if kind is None:
            raise Lacking(f"no step kind `{step.kind}` is installed", "install the plugin that brings it")
        self._check_params(step, kind)
        if runs_others_code(kind, step.params):
            raise Lacking(f"`{step.id}` runs code of the model's author: build it from a manifest that permits this")
        if kind.network(step.params) and self._offline:
            raise Lacking(f"`{step.params.get('repo')}` is on a Hub, and `--offline` uses no network")
        self._pending.add(step.id)
        inputs = {port: known.get(port) or self._input(step, port, digest) for port, digest in step.inputs.items()}
        self._actions[step.id] = Action(
            id=step.id, kind=step.kind, params=step.params, inputs=inputs, pool=kind.pool,
            timeout_seconds=kind.timeout_seconds,
        )  # fmt: skip

    def _check_params(self, step: StepMade, kind: Kind) -> None:
        if step.id in self._pending:
            raise Lacking(f"`{step.id}` needs its own output")
        try:
            msgspec.convert(step.params, kind.params)
        except msgspec.ValidationError as error:
            raise Lacking(f"`{step.id}` has params that this version does not know: {error}") from None

    def _input(self, step: StepMade, port: str, digest: str) -> Input:
        made = self._makers.get(digest) if port != _FILES else None
        if made is not None:
            self._add(made[0], {})
            return OutputRef(made[0].id, made[1])
        rows = self._account.datasets.get(str(step.params.get("dataset"))) if port == ROWS else None
        if rows is not None and rows.repository:
            return self._fetched_rows(str(step.params["dataset"]))
        names = rows.files if rows is not None else tuple(step.params.get("files") or ())
        found = next(self._with_digest(tuple(filter(is_safe_name, names)), digest), None)
        if found is None:
            raise Lacking(
                f"input `{port}` of `{step.id}`, with the digest {digest[:16]}…, is in none of the places", _BY_DIGEST
            )
        return found

    def _fetched_rows(self, name: str) -> OutputRef:
        rows = self._account.datasets[name]
        params = {"origin": "hub", "repo": rows.repository, "revision": rows.commit, "files": list(rows.files)}
        self._add(StepMade(id=f"datasets/{name}:fetch", kind=FETCH.name, params=params), {})
        return OutputRef(f"datasets/{name}:fetch", _MODEL)

    def _with_digest(self, names: tuple[str, ...], digest: str) -> Iterator[FilesSource]:
        """The files of a place that have this digest together."""
        for place in self._places:
            root, below = (place, names) if place.is_dir() else (place.parent, (place.name,))
            with contextlib.suppress(OSError):
                if below and self._store.digest_files(str(root), below).digest == digest:
                    yield FilesSource(os.fspath(root), below)


def _run(graph: ActionGraph, store: Store, logs: Path, kinds: Kinds) -> Mapping[str, Outcome]:
    policy = Policy(scope=_SCOPE, logs=str(logs), memory_bytes=memory_limit())
    runner = LocalRunner(threads=usable_cores())
    reporter = reporter_for("auto", sys.stderr, graph=graph)
    try:
        with interruptible() as interrupt:
            for event in execute(graph, kinds=kinds, store=store, runner=runner, policy=policy, interrupt=interrupt):
                if isinstance(event, RunFinished):
                    return event.outcomes
                reporter.event(event)
    finally:
        reporter.close()
        runner.close()
    raise AssertionError("BUG: a run without an end")


def _unproven(folder: Path, account: Account, outcomes: Mapping[str, Outcome]) -> Iterator[Diagnostic]:
    """OBE180 for each check that has ended without having passed: it was skipped, or its manifest only warns."""
    for step in account.checks:
        outcome = outcomes.get(step.id)
        if outcome is None or outcome.outcome not in SUCCEEDED:
            continue
        needs = skipped_because(outcome)
        if needs is not None:
            message = f"`{folder}` was not validated again: `{step.id}` was skipped, because it {needs}"
            yield fault("OBE180", message, hint="install what it needs, or run the command on a machine that has it")
        elif outcome.facts.get("passed") is False:
            broken = ", ".join(f"`{name}` is {metric.value:.4g}" for name, metric in broken_metrics(outcome).items())
            message = f"`{step.id}` is outside its bounds ({broken}), of which its manifest only warns"
            yield fault("OBE180", message, hint="accept that, or ask for a folder that keeps its bounds")


def _other(account: Account, outcomes: Mapping[str, Outcome]) -> Iterator[Diagnostic]:
    """OBE181 for a source that has other content than the one that was read: its checks would prove nothing."""
    for step in account.steps:
        outcome = outcomes.get(step.id)
        if step.kind == FETCH.name and outcome is not None and outcome.outcome in SUCCEEDED:
            now = outcome.outputs.get(_MODEL)
            if now != step.outputs.get(_MODEL):
                message = f"the source of `{step.id}` has other content than the one that was built"
                yield fault("OBE181", message, subject=step.id)
