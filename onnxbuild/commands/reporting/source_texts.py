"""Where a model comes from, and what its source says about itself, for a card."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.execute.events import Outcome
from onnxbuild.manifest.document import Table
from onnxbuild.planning.action_graph import Action, FilesSource
from onnxbuild.planning.hub import Hub
from onnxbuild.regular_files import read_regular
from onnxbuild.report.card.source_readme import MOST_BYTES, README, SourceCard, source_card
from onnxbuild.report.card.subject import Origin
from onnxbuild.report.render_diagnostics import show


def origins_of(source: str | Table, steps: Sequence[Action], outcomes: Mapping[str, Outcome]) -> Iterator[Origin]:
    """The checkpoint, and the adapter that was merged into it. No path of this machine is among the words."""
    for action in _fetches(steps):
        outcome = outcomes.get(action.id)
        digest = outcome.outputs.get("model", "") if outcome is not None else ""
        if action.params["origin"] == "hub":
            repo, revision = str(action.params["repo"]), str(action.params["revision"])
            yield Origin(repo=repo, revision=revision, digest=digest)
        else:
            words, name = _named(source, action)
            yield Origin(words=words, name=name, digest=digest)


def _fetches(steps: Sequence[Action]) -> list[Action]:
    """The checkpoint first, and then its adapter."""
    found = [action for action in steps if action.kind == "fetch"]
    return sorted(found, key=lambda action: action.params.get("adapter") == "take")


def _named(source: str | Table, action: Action) -> tuple[str, str]:
    """What a source is, and its name."""
    if action.params["origin"] == "random":
        return "random weights of the architecture", str(action.params["architecture"])
    if isinstance(source, str) and source.startswith("package:"):
        return "the Python package", source.removeprefix("package:")
    files = action.inputs.get("files")
    return "the folder", os.path.basename(files.root) if isinstance(files, FilesSource) else ""


# -- what the source says ---------------------------------------------------------------------------------------------


def stated_by(steps: Sequence[Action], config: Mapping[str, Any], *, offline: bool) -> SourceCard:
    """What the checkpoint's own README.md states, and its config.json; a warning where the README cannot be read."""
    action = next(iter(_fetches(steps)), None)
    if action is None or action.params["origin"] == "random":
        return SourceCard()
    if action.params["origin"] == "hub":
        repo, revision = str(action.params["repo"]), str(action.params["revision"])
        return source_card(_on_hub(repo, revision, offline=offline), config)
    files = action.inputs.get("files")
    return source_card(_local(files.root) if isinstance(files, FilesSource) else None, config)


def _local(root: str) -> bytes | None:
    """The README.md of a folder. A link is not followed: it may lead to a file that the manifest may not read."""
    try:
        return read_regular(os.path.join(root, README), MOST_BYTES)
    except OSError:
        return None


def _on_hub(repo: str, revision: str, *, offline: bool) -> bytes | None:
    if offline:
        _warn(f"the card of `{repo}` is not read with `--offline`")
        return None
    try:
        return Hub.from_environment().content(repo, revision, README)
    except DiagnosticError as error:
        _warn(f"the card of `{repo}` cannot be read: {error.diagnostics[0].message}")
        return None


def _warn(message: str) -> None:
    hint = "the license and the language are left out; `onnxbuild card` with a network adds them"
    show([fault("OB682", message, hint=hint, severity="warning")], sys.stderr)
