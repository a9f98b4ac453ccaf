"""Uploads run only where a person asks for them: with `--publish`, or with a selector such as `minilm:publish`."""

from __future__ import annotations

from collections.abc import Sequence

from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.select import named

_KIND = "publish"


def without_unasked(graph: ActionGraph, selectors: Sequence[str], *, publish: bool) -> ActionGraph:
    """The graph without the uploads that nobody asked for."""
    uploads = uploads_in(graph)
    if publish or not uploads:
        return graph
    asked = [one for one in selectors if _names_publish(one)]
    wanted = named(graph, asked) if asked else frozenset()
    return graph.only(frozenset(graph.actions) - (uploads - wanted))


def uploads_in(graph: ActionGraph) -> frozenset[str]:
    """The ids of the actions that upload something."""
    return frozenset(one.action for one in graph.uploads if one.action in graph.actions)


def _names_publish(selector: str) -> bool:
    return selector.strip("+").partition(":")[2] == _KIND
