"""The plan of a command: the selected part of a manifest's graph, and the files that it depends on."""

from __future__ import annotations

from msgspec import Struct

from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.steps import Places


class Plan(Struct, frozen=True, kw_only=True):
    """The result of planning: a pure function of what it has `watched`, the command line and the installed packages."""

    manifest: Manifest
    graph: ActionGraph  # the selected actions, with all that they need
    named: frozenset[str]  # the selected actions
    whole: ActionGraph
    watched: tuple[str, ...]  # files and folders that planning looked at
    variables: tuple[str, ...] = ()  # of the environment that planning looked at, besides those that the manifest names
    plugins: Places  # of the kinds that plugins declare
