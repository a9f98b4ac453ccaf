"""`onnxbuild graph`: the actions of a manifest as a drawing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from onnxbuild.commands.session import Asked, planned
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.execute.events import Outcome
from onnxbuild.plan.graph import ActionGraph
from onnxbuild.plan.select import select
from onnxbuild.report import diagram
from onnxbuild.report.svg import svg

RENDERERS = {"mermaid": diagram.mermaid, "dot": diagram.dot, "json": diagram.json, "svg": svg}
FORMATS = tuple(RENDERERS)


def show_graph(asked: Asked, format: diagram.DiagramFormat, *, output: str | None = None) -> int:  # noqa: A002 - the option's name
    """Draw what is selected, on stdout or into a file; the exit code. Errors: DiagnosticError."""
    _, expansion = planned(asked, write_lock=False)
    text = render_graph(select(expansion.graph, asked.selectors), format)
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DiagnosticError(fault("OB016", f"`{output}` cannot be written: {error.strerror}")) from None
    return 0


def render_graph(
    graph: ActionGraph,
    format: diagram.DiagramFormat,  # noqa: A002 - the name that the option has
    outcomes: Mapping[str, Outcome] | None = None,
) -> str:
    """The graph in a format of `FORMATS`, coloured by outcome where there are outcomes."""
    return RENDERERS[format](graph, outcomes)
