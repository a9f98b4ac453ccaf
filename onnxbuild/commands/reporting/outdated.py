"""Results of an earlier manifest: what an action was made from is not what it would be made from now.

Only the manifest and its sources count. Other packages or another machine than those here are no fault of a report:
it names those that took part.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.commands.workspace import Session
from onnxbuild.diagnostics import Diagnostic, Severity, fault
from onnxbuild.digest import Digest, digest_value
from onnxbuild.execute.decide import differences
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource, Input, OutputRef, PapersSource
from onnxbuild.protocol import plain
from onnxbuild.report.render_diagnostics import show
from onnxbuild.report.result.reasons import reason_in_words
from onnxbuild.report.wording import path_from_here
from onnxbuild.store.store import Store

_MOST_NAMED = 3  # changes of one action


def outdated_actions(opened: Session, outcomes: Mapping[str, Outcome]) -> Mapping[str, str]:
    """The actions whose last result is of an earlier manifest or source, each with what has changed since."""
    found: dict[str, str] = {}
    for name, action in opened.graph.actions.items():
        if name in outcomes and (why := _why(action, opened, outcomes, found)):
            found[name] = why
    return found


def _why(action: Action, opened: Session, outcomes: Mapping[str, Outcome], known: Mapping[str, str]) -> str | None:
    """What has changed since an action ran; for an input, what has changed of the action that makes it."""
    if own := _own_change(action, opened, outcomes):
        return own
    return next((known[need] for need in _makers(action) if need in known), None)


def _own_change(action: Action, opened: Session, outcomes: Mapping[str, Outcome]) -> str | None:
    outcome = outcomes[action.id]
    trace = opened.store.traces.find(outcome.key) if outcome.outcome in SUCCEEDED and outcome.key else None
    if trace is None:
        return None
    try:
        inputs = {port: _digest(one, port, trace.parts, opened.store, outcomes) for port, one in action.inputs.items()}
    except OSError as error:
        return f"`{error.filename}` of {action.id} cannot be read"
    kind = opened.kinds[action.kind]
    now = {**trace.parts, "kind": kind.name, "version": kind.version, "params": action.params, "inputs": inputs}
    if digest_value(plain(now)) == outcome.key:
        return None
    changed = differences(trace.parts, plain(now))
    words = ", ".join(map(reason_in_words, changed[:_MOST_NAMED]))
    return f"{action.id}: {words}{', …' if changed[_MOST_NAMED:] else ''}" if changed else None


def _digest(
    source: Input, port: str, parts: Mapping[str, Any], store: Store, outcomes: Mapping[str, Outcome]
) -> Digest:
    """The digest of an input as it is now; that of the trace where the result of its maker is not known."""
    if isinstance(source, FilesSource):
        return store.digest_files(source.root, source.files).digest
    if isinstance(source, OutputRef):
        maker = outcomes.get(source.action)
        known = (parts.get("inputs") or {}).get(port, "")
        return Digest(maker.outputs.get(source.port, known) if maker is not None else known)
    if isinstance(source, PapersSource):
        return Digest((parts.get("inputs") or {}).get(port, ""))
    return digest_value(source.rows)


def _makers(action: Action) -> Iterator[str]:
    return (one.action for one in action.inputs.values() if isinstance(one, OutputRef))


def outdated_variants(graph: ActionGraph, actions: Mapping[str, str]) -> Mapping[str, str]:
    """The variants with such a result, each with what has changed since."""
    found: dict[str, str] = {}
    for variant in graph.variants:
        if why := next((actions[name] for name in variant.members if name in actions), None):
            found[variant.name] = why
    return found


def warn_of(variants: Mapping[str, str], manifest: str) -> None:
    """A warning on stderr, if there are such variants."""
    if variants:
        show([outdated_fault(variants, manifest, "warning")], sys.stderr)


def outdated_fault(variants: Mapping[str, str], manifest: str, severity: Severity) -> Diagnostic:
    """OB710, which names the first variant and what has changed."""
    (first, why), *others = variants.items()
    more = f" and {len(others)} more" if others else ""
    message = f"the results of `{first}`{more} are of an earlier manifest or source ({why})"
    hint = f"`onnxbuild run {path_from_here(manifest)}` brings them up to date"
    return fault("OB710", message, hint=hint, severity=severity)
