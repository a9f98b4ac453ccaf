"""`onnxbuild status`: the results of the last runs, without running anything."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Literal

from msgspec import structs

from onnxbuild.commands.building.best_first import with_best
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.publishing.last_uploads import last_uploads
from onnxbuild.commands.reporting.outdated import outdated_actions, outdated_variants, warn_of
from onnxbuild.commands.workspace import Session, session
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.select import packages_named, variants_named
from onnxbuild.protocol import Failure
from onnxbuild.report.result import status_text
from onnxbuild.report.terminal import width_of
from onnxbuild.store.traces import Last

Format = Literal["text", "markdown", "json"]
_RENDERERS = {"markdown": status_text.as_markdown, "json": status_text.as_json}


def show_status(asked: Asked, format: Format) -> int:  # noqa: A002 - the option's name
    """Print what the store knows about every selected variant; return the exit code. Errors: DiagnosticError."""
    with session(asked, write=False) as begun:
        opened, outcomes = as_last_run(begun)
        lasts = opened.store.traces.last(opened.scope)
        ended = max((lasts[name].at for name in outcomes if name in lasts), default=None)
        interrupted = _interrupted(opened.graph, lasts)
        graph = structs.replace(
            opened.graph,
            variants=variants_named(opened.graph, asked.selectors),
            packages=packages_named(opened.graph, asked.selectors),
        )
        published = tuple(last_uploads(opened, graph, outcomes))
        outdated = outdated_variants(graph, outdated_actions(opened, outcomes))
    if format == "text":
        text = status_text.as_text(
            graph,
            outcomes,
            ended,
            width_of(sys.stdout),
            interrupted=interrupted,
            manifest=asked.manifest,
            options=asked.as_arguments(),
            published=published,
        )
        print(text)
    else:
        print(_RENDERERS[format](graph, outcomes, ended, interrupted=interrupted))
    warn_of(outdated, asked.manifest)
    return 0


def _interrupted(graph: ActionGraph, lasts: Mapping[str, Last]) -> bool:
    """Whether the last run was interrupted: `--fail-fast` leaves actions out, too, but after one has failed."""
    ends = {lasts[name].outcome for name in graph.actions if name in lasts}
    return "skipped" in ends and "failed" not in ends


def as_last_run(opened: Session) -> tuple[Session, Mapping[str, Outcome]]:
    """The session with what only the best variants get, and how every selected action ended in its last run."""
    found = with_best(opened, last_outcomes(opened))
    return found, last_outcomes(found)


def last_outcomes(opened: Session) -> Mapping[str, Outcome]:
    """How every selected action ended in its last run, with the facts of its last success."""
    lasts = opened.store.traces.last(opened.scope)
    known = ((name, lasts[name]) for name in opened.graph.actions if name in lasts)
    outcomes = ((name, last_outcome(name, last, opened)) for name, last in known)
    return _of_what_succeeded({name: outcome for name, outcome in outcomes if outcome is not None}, opened)


def _of_what_succeeded(outcomes: Mapping[str, Outcome], opened: Session) -> Mapping[str, Outcome]:
    """The outcomes without those of actions that need a failed one: their results are of an earlier build."""
    failed = frozenset(name for name, outcome in outcomes.items() if outcome.outcome == "failed")
    behind = opened.plan.whole.with_dependents(failed) - failed if failed else frozenset()
    return {name: outcome for name, outcome in outcomes.items() if name not in behind}


def last_outcome(name: str, last: Last, opened: Session) -> Outcome | None:
    """How an action ended in its last run; None if the store no longer has its result."""
    kind = opened.plan.whole.actions[name].kind
    if last.outcome == "failed":
        code, _, message = (last.message or "OBE99 no reason was given").partition(" ")
        return Outcome(
            id=name, kind=kind, outcome="failed", failure=Failure(code=code, message=message, facts=last.facts)
        )
    trace = opened.store.traces.find(last.key) if last.key else None
    if trace is None:
        return None
    outcome = Outcome(id=name, kind=kind, outcome="hit", key=last.key, outputs=trace.outputs, facts=trace.facts)
    return structs.replace(outcome, seconds=trace.seconds)
