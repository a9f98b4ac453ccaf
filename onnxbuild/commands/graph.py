"""`onnxbuild graph`: the actions of a manifest as a drawing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from onnxbuild.commands.workspace import Asked, Session, session
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.execute.events import Outcome
from onnxbuild.execute.preview import preview
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.drawing import diagram
from onnxbuild.report.drawing.svg import svg
from onnxbuild.store.traces import Last

RENDERERS = {"mermaid": diagram.mermaid, "dot": diagram.dot, "json": diagram.json, "svg": svg}
FORMATS = tuple(RENDERERS)


def show_graph(asked: Asked, format: diagram.DiagramFormat, *, output: str | None = None) -> int:  # noqa: A002 - the option's name
    """Draw what is selected, on stdout or into a file, with what a run would do; the exit code.

    Errors: DiagnosticError.
    """
    with session(asked, write=False) as opened:
        text = render_graph(opened.graph, format, states(opened))
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiagnosticError(fault("OB016", f"`{output}` cannot be written: {error.strerror}")) from None
    return 0


def states(opened: Session) -> Mapping[str, Outcome]:
    """Of every action whether it is a hit or would run; one that failed the last time it ran is still failed."""
    lasts = opened.store.traces.last(opened.scope)
    found = preview(opened.graph, kinds=opened.kinds, store=opened.store, runner=opened.runner, scope=opened.scope)
    return {outcome.id: _or_failed(outcome, lasts.get(outcome.id)) for outcome in found}


def _or_failed(outcome: Outcome, last: Last | None) -> Outcome:
    failed = last is not None and last.outcome == "failed" and outcome.outcome == "run"
    return structs.replace(outcome, outcome="failed") if failed else outcome


def render_graph(
    graph: ActionGraph,
    format: diagram.DiagramFormat,  # noqa: A002 - the name that the option has
    outcomes: Mapping[str, Outcome] | None = None,
) -> str:
    """The graph in a format of `FORMATS`, coloured by outcome where there are outcomes."""
    return RENDERERS[format](graph, outcomes)
