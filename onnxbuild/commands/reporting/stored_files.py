"""Files of a build that are not what they were: missing in the store, damaged there, or changed after delivery."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from onnxbuild.commands.workspace import Session
from onnxbuild.deliver.provenance import ours
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.digest import digest_file
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.report.wording import path_from_here

_FAILED = 1
_MOST_NAMED = 3  # files of one message


def check_stored(opened: Session, graph: ActionGraph, outcomes: Mapping[str, Outcome], *, thorough: bool) -> None:
    """Refuse variants whose stored files are missing or damaged. Errors: DiagnosticError OB711.

    `thorough`: read every file. Otherwise only a file that was written to after its result was recorded is read, so
    that a report of hundreds of variants reads none; `onnxbuild cache verify` finds what a disk has lost.
    """
    wrong = list(
        dict.fromkeys(one for variant in graph.variants for one in _wrong(variant, opened, outcomes, thorough))
    )
    if not wrong:
        return
    few = "; ".join(wrong[:_MOST_NAMED]) + (f"; and {len(wrong) - _MOST_NAMED} more" if wrong[_MOST_NAMED:] else "")
    manifest = path_from_here(opened.plan.manifest.path)
    hint = f"`onnxbuild cache verify {manifest}` removes what is damaged, and `onnxbuild run {manifest}` makes it again"
    raise DiagnosticError(fault("OB711", few, hint=hint), exit_code=_FAILED)


def _wrong(variant: Variant, opened: Session, outcomes: Mapping[str, Outcome], thorough: bool) -> Iterator[str]:  # noqa: FBT001 - passed on
    outcome = outcomes.get(variant.output.action)
    if outcome is None or outcome.outcome not in SUCCEEDED or outcome.key is None:
        return
    trace = opened.store.traces.find(outcome.key)
    content = opened.store.content
    try:
        files = opened.store.tree(outcome.outputs[variant.output.port]).files
        for file in files:
            if trace is not None and not thorough and content.seems_intact(file, trace.created):
                continue
            if (damage := content.damage(file)) is not None:
                yield f"`{file.name}` of `{variant.name}` is {damage} in the store"
    except OSError as error:
        yield f"the files of `{variant.name}` cannot be read from the store: {error.strerror}"


def check_delivered(folder: Path, graph: Path, manifest: str) -> None:
    """Refuse a graph other than the one that was delivered. Errors: DiagnosticError OB711."""
    name = graph.relative_to(folder).as_posix()
    listed = next((file for file in ours(folder) if file.name == name), None)
    if listed is not None and digest_file(graph, graph.stat().st_size) != listed.digest:
        message = f"`{path_from_here(graph)}` is not what was delivered: it was changed or damaged"
        hint = (
            f"`onnxbuild run {path_from_here(manifest)}` delivers it again; `onnxbuild verify` checks the whole folder"
        )
        raise DiagnosticError(fault("OB711", message, hint=hint), exit_code=_FAILED)
