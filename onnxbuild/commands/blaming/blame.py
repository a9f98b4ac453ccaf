"""`onnxbuild blame`: which step of a variant breaks its validation, and which nodes of that step.

It is an ordinary run of actions that no manifest names, so results are stored and found again. It writes no outputs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from onnxbuild.commands.blaming.blame_text import as_json, as_text
from onnxbuild.commands.blaming.chain import Chain, Stage, chain_of, variant_named, with_checks, with_nodes
from onnxbuild.commands.blaming.verdict import Blame, Graph, blame_of, first_broken, is_measured, pasted
from onnxbuild.commands.building.interrupts import interruptible
from onnxbuild.commands.building.rounds import run_session
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.workspace import Session, default_jobs, memory_limit, session
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.execute.policy import Policy
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.progress.reporter import reporter_for
from onnxbuild.report.render_diagnostics import show
from onnxbuild.report.result.failed_actions import failures
from onnxbuild.report.terminal import width_of
from onnxbuild.steps.checks.blame_nodes import BLAME

_SCOPE = "blame"
_FAILED, _INTERRUPTED = 1, 130


class _Stopped(Exception):  # noqa: N818 - how a run ended, which has been shown
    """A run that gave no answer, with its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def blame(asked: Asked, *, as_json_text: bool, jobs: int | None = None) -> int:
    """Print the verdict; return 0 if nothing breaks the validation, 1 if a step does. Errors: DiagnosticError."""
    with session(asked, write=True, jobs=jobs or default_jobs(), also={BLAME.name: BLAME}) as opened:
        chain = chain_of(opened.plan.whole, variant_named(opened.plan.whole, asked.selectors))
        try:
            verdict = _verdict(opened, chain, jobs or default_jobs())
        except _Stopped as stopped:
            return stopped.code
    print(as_json(verdict) if as_json_text else as_text(verdict, width_of(sys.stdout)))
    return 0 if verdict.first is None else _FAILED


def _verdict(opened: Session, chain: Chain, jobs: int) -> Blame:
    outcomes = _run(opened, with_checks(opened.plan.whole, chain), jobs)
    verdict = blame_of(chain, outcomes)
    stage = first_broken(chain, verdict)
    if stage is None or stage.nodes is None:
        return verdict
    try:
        graphs = _graphs(opened, stage, jobs)
    except _Stopped as stopped:
        if stopped.code == _INTERRUPTED:
            raise
        return verdict  # it stands without the nodes, and stderr has the reason
    return structs.replace(verdict, graphs=graphs, pasted=pasted(stage, graphs))


def _graphs(opened: Session, stage: Stage, jobs: int) -> tuple[Graph, ...]:
    """The nodes of a stage, by graph."""
    assert stage.nodes is not None, "BUG: an export has no graph before it"
    outcomes = _run(opened, with_nodes(opened.plan.whole, stage), jobs)
    graphs: Any = outcomes[stage.nodes.id].facts["graphs"]
    return msgspec.convert(graphs, tuple[Graph, ...])


def _run(opened: Session, graph: ActionGraph, jobs: int) -> Mapping[str, Outcome]:
    """The outcomes of a graph without variants.

    Errors: _Stopped if an action failed for another reason than a bound, or the run was interrupted.
    """
    session_of = structs.replace(opened, plan=structs.replace(opened.plan, graph=graph))
    scope = f"{opened.scope}#{_SCOPE}"
    policy = Policy(scope=scope, logs=str(opened.logs), jobs=jobs, memory_bytes=memory_limit())
    with interruptible() as interrupt:
        reporter = reporter_for("auto", sys.stderr, graph=graph)
        result = run_session(session_of, policy, Path(opened.state), reporter, interrupt)
    if result.interrupted:
        raise _Stopped(_INTERRUPTED)
    unmeasured = {name: one for name, one in result.outcomes.items() if not _is_answer(one)}
    if unmeasured:
        show(list(failures(graph, unmeasured)), sys.stderr)
        raise _Stopped(_FAILED)
    return result.outcomes


def _is_answer(outcome: Outcome) -> bool:
    return outcome.outcome in SUCCEEDED or (outcome.kind == "validate" and is_measured(outcome))
