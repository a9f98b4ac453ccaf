"""What `status` says about uploads: what was published last, and whether the package has changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnxbuild.commands.publishing.local_destinations import lacking_uploads
from onnxbuild.commands.workspace import Session
from onnxbuild.execute.events import Outcome
from onnxbuild.execute.last_outcomes import LastOutcomes
from onnxbuild.planning.action_graph import ActionGraph, OutputRef, Published
from onnxbuild.report.publishing.published_text import where_in_words


def last_uploads(opened: Session, graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """One line for each upload of a package in `graph`. No server is asked."""
    packages = {(one.variant.model, one.name) for one in graph.packages}
    last = LastOutcomes(opened.store, opened.scope)
    lacking = lacking_uploads(opened.plan.whole, opened.store, opened.scope)
    for upload in opened.plan.whole.uploads:
        if (upload.model, upload.package) in packages:
            yield _line(upload, opened, outcomes, last, lacking)


def _line(
    upload: Published,
    opened: Session,
    outcomes: Mapping[str, Outcome],
    last: LastOutcomes,
    lacking: frozenset[str],
) -> str:
    trace = last.trace(upload.action)
    if trace is None or "skipped" in trace.facts:
        return f"{upload.model} was never published to {upload.place}"
    where = where_in_words(upload, trace.facts)
    source = opened.plan.whole.actions[upload.action].inputs["package"]
    assert isinstance(source, OutputRef), "BUG: a package is made by an action"
    now = outcomes.get(source.action)
    same = now is not None and now.outputs.get(source.port) == trace.parts["inputs"]["package"]
    changed = "" if same else "; the package has changed since"
    lost = "; its folder has lost files or was written to since" if upload.action in lacking else ""
    failed = "; a later upload did not succeed" if last.has_failed(upload.action) else ""
    return f"{upload.model} {where}{changed}{lost}{failed}"
