"""Where a model comes from, and what its source says about itself, for a card."""

from __future__ import annotations

import json
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

_CONFIG = "config.json"


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


def stated_by(steps: Sequence[Action], *, offline: bool) -> SourceCard:
    """What the checkpoint's own README.md and config.json state; a warning where they cannot be read."""
    action = next(iter(_fetches(steps)), None)
    if action is None or action.params["origin"] == "random":
        return SourceCard()
    if action.params["origin"] == "hub":
        return _on_hub(str(action.params["repo"]), str(action.params["revision"]), offline=offline)
    files = action.inputs.get("files")
    root = files.root if isinstance(files, FilesSource) else ""
    return source_card(_local(root, README), _decoded(_local(root, _CONFIG)))


def _local(root: str, name: str) -> bytes | None:
    """A file of the source's folder. A link is not followed: it may lead to a file that the manifest may not read."""
    try:
        return read_regular(os.path.join(root, name), MOST_BYTES)
    except OSError:
        return None


def _on_hub(repo: str, revision: str, *, offline: bool) -> SourceCard:
    if offline:
        _warn(f"the card of `{repo}` is not read with `--offline`")
        return SourceCard()
    try:
        return source_card(Hub.from_environment().content(repo, revision, README))
    except DiagnosticError as error:
        _warn(f"the card of `{repo}` cannot be read: {error.diagnostics[0].message}")
        return SourceCard()


def _warn(message: str) -> None:
    hint = "the license and the language are left out; `onnxbuild card` again adds them"
    show([fault("OB682", message, hint=hint, severity="warning")], sys.stderr)


def _decoded(config: bytes | None) -> Any:
    try:
        return json.loads(config or b"null")
    except (ValueError, RecursionError):
        return None
