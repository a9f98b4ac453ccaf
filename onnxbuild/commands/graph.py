"""`onnxbuild graph`: the actions of a manifest as a drawing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from msgspec import structs

from onnxbuild.commands.parsing.format_choice import format_by_suffix
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.workspace import Session, session, write_result
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.drawing import diagram
from onnxbuild.report.drawing.svg import svg
from onnxbuild.store.traces import Last

RENDERERS = {"mermaid": diagram.mermaid, "dot": diagram.dot, "json": diagram.json, "svg": svg}
FORMATS = tuple(RENDERERS)
_BY_SUFFIX: Mapping[str, diagram.DiagramFormat] = {
    ".svg": "svg",
    ".dot": "dot",
    ".gv": "dot",
    ".json": "json",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".md": "mermaid",
}


def show_graph(asked: Asked, format: diagram.DiagramFormat, *, output: str | None = None) -> int:  # noqa: A002 - the option's name
    """Draw the selected actions and what a run would do, to stdout or a file; return the exit code.

    Errors: DiagnosticError.
    """
    with session(asked, write=False) as opened:
        text = render_graph(opened.graph, format, states(opened))
    if output is not None and PurePath(output).suffix.lower() == ".md":
        text = f"```mermaid\n{text}```\n"
    write_result(text, output)
    return 0


def format_for(format: diagram.DiagramFormat | None, output: str | None) -> diagram.DiagramFormat:  # noqa: A002 - the option's name
    """The requested format, else that of the file's suffix, else mermaid.

    Errors: ValueError if the two contradict each other, or if only the suffix could decide and it is unknown.
    """
    return format_by_suffix(format, output, _BY_SUFFIX, "mermaid")


def states(opened: Session) -> Mapping[str, Outcome]:
    """For every action whether it is a hit or would run; one that failed in its last run is still failed."""
    lasts = opened.store.traces.last(opened.scope)
    return {name: _or_failed(outcome, lasts.get(name)) for name, outcome in opened.preview().items()}


def _or_failed(outcome: Outcome, last: Last | None) -> Outcome:
    failed = last is not None and last.outcome == "failed" and outcome.outcome == "run"
    return structs.replace(outcome, outcome="failed") if failed else outcome


def render_graph(
    graph: ActionGraph,
    format: diagram.DiagramFormat,  # noqa: A002 - the option's name
    outcomes: Mapping[str, Outcome] | None = None,
) -> str:
    """The graph in a format of `FORMATS`, coloured by outcome where there are outcomes."""
    return RENDERERS[format](graph, outcomes)
