"""`onnxbuild plan`: what a run would do, and why."""

from __future__ import annotations

import sys

from onnxbuild.commands.building.best_first import with_best
from onnxbuild.commands.building.only_prepared import only_prepared
from onnxbuild.commands.building.tidying import mention_unnamed
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.publishing.planned_uploads import planned_uploads
from onnxbuild.commands.sharing.revalidation import own_actions
from onnxbuild.commands.state.locations import out_folder
from onnxbuild.commands.state.out_place import refuse_link
from onnxbuild.commands.workspace import session
from onnxbuild.report.progress.jsonl import events_text
from onnxbuild.report.publishing.difference_text import upload_lines
from onnxbuild.report.result.plan_text import plan_text
from onnxbuild.report.terminal import fitted


def show_plan(
    asked: Asked, *, as_json: bool, force: bool = False, revalidate: bool = False, out: str | None = None
) -> int:
    """Print every action with what a run would do; return the exit code. Errors: DiagnosticError, as for the run."""
    refuse_link(asked.manifest, out)
    asked = asked._replace(out=str(out_folder(asked.manifest, out)))
    with session(asked, write=False) as begun:
        own = own_actions(begun.graph, revalidate=revalidate)
        opened = with_best(begun, begun.preview(force=force, own=own))
        outcomes = opened.preview(force=force, own=own)
        uploads = list(planned_uploads(opened, outcomes, asks=asked.check_published))
        if as_json:
            print(events_text(outcomes, uploads), end="")
        else:
            lasts = opened.store.traces.last(opened.scope)
            text = plan_text(opened.graph, outcomes, lasts, only_prepared(opened, outcomes))
            print(fitted(text, sys.stdout))
            for line in (line for one in uploads for line in upload_lines(one)):
                print(fitted(line, sys.stdout))
            waiting = sum(bool(variant.if_best) for variant in opened.graph.variants)
            if waiting and not all(outcome.outcome == "hit" for outcome in outcomes.values()):
                print("then the step `tune` of each best variant, once it is chosen")
        mention_unnamed(opened, asked, out)
    return 1 if any(outcome.outcome == "failed" for outcome in outcomes.values()) else 0
