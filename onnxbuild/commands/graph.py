"""`onnxbuild graph`: the actions of a manifest as a drawing."""

from __future__ import annotations

from collections.abc import Mapping

from onnxbuild.execute.events import Outcome
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
