"""The plan of a command: what was selected of a manifest's graph, and what was looked at to make it."""

from __future__ import annotations

from msgspec import Struct

from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.steps import Places


class Plan(Struct, frozen=True, kw_only=True):
    """What planning gives: a pure function of the files in `watched`, the command line and what is installed."""

    manifest: Manifest
    graph: ActionGraph  # what was selected, with all that it needs
    named: frozenset[str]  # what was selected
    whole: ActionGraph
    watched: tuple[str, ...]  # files and folders that planning looked at
    plugins: Places  # of the kinds that plugins bring
