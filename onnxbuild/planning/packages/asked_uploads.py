"""Uploads run only where a person asks for them: with `--publish`, or with a selector such as `minilm:publish`."""

from __future__ import annotations

from collections.abc import Sequence

from onnxbuild.diagnostics import DiagnosticError, fault
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


def check_any(graph: ActionGraph) -> None:
    """Errors: DiagnosticError OB787 if uploads are asked for, and nothing that is selected is published."""
    if not uploads_in(graph):
        hint = "add `publish:` to a model that has a `package:`, for example `publish: {hub: OWNER/NAME}`"
        raise DiagnosticError(
            fault("OB787", "there is nothing to publish: no selected model has `publish:`", hint=hint)
        )


def check_offline(graph: ActionGraph) -> None:
    """Errors: DiagnosticError OB785 if something would be uploaded over the network, in a run without network."""
    places = [one.place for one in graph.uploads if one.action in graph.actions and not one.place.startswith("folder:")]
    if places:
        hint = "leave out `--offline`, or `--publish` and the selector of the upload"
        message = f"`--offline` uses no network, and the upload to `{places[0]}` needs one"
        raise DiagnosticError(fault("OB785", message, hint=hint))


def uploads_in(graph: ActionGraph) -> frozenset[str]:
    """The ids of the actions that upload something."""
    return frozenset(one.action for one in graph.uploads if one.action in graph.actions)


def _names_publish(selector: str) -> bool:
    kind = selector.strip("+").partition(":")[2]
    return kind == _KIND or kind.startswith(f"{_KIND}-")
