"""`onnxbuild graph`: the actions of a manifest as a drawing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from onnxbuild.commands.session import Asked, session
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.execute.events import Outcome
from onnxbuild.execute.preview import preview
from onnxbuild.plan.graph import ActionGraph
from onnxbuild.report import diagram

RENDERERS = {"mermaid": diagram.mermaid, "dot": diagram.dot, "json": diagram.json}
FORMATS = tuple(RENDERERS)


def render_graph(
    graph: ActionGraph,
    format: diagram.DiagramFormat,  # noqa: A002 - the name that the option has
    outcomes: Mapping[str, Outcome] | None = None,
) -> str:
    """The graph in a format of `FORMATS`, coloured by outcome where there are outcomes."""
    return RENDERERS[format](graph, outcomes)


def show_graph(asked: Asked, format: str, *, output: str | None = None) -> int:  # noqa: A002
    """Draw a manifest's graph with the state that each action would have in a run; the exit code.

    Errors: DiagnosticError for the manifest, and OB024 for svg where Graphviz is not installed.
    """
    with session(asked, write=False) as opened:
        outcomes = {
            outcome.id: outcome
            for outcome in preview(
                opened.graph, kinds=opened.kinds, store=opened.store, runner=opened.runner, scope=opened.scope
            )
        }
        drawing = _svg(opened.graph, outcomes) if format == "svg" else RENDERERS[format](opened.graph, outcomes)
    if output:
        Path(output).write_text(drawing + "\n", encoding="utf-8")
    else:
        print(drawing)
    return 0


def _svg(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> str:
    """Graphviz lays the dot form out: no layout of ours would be as good."""
    program = shutil.which("dot")
    if program is None:
        hint = "install Graphviz, or use `--format dot` or `--format mermaid`"
        raise DiagnosticError(fault("OB024", "`--format svg` needs the program `dot`, which is not installed", hint=hint))
    done = subprocess.run([program, "-Tsvg"], input=diagram.dot(graph, outcomes), capture_output=True, text=True, check=True)
    return done.stdout
