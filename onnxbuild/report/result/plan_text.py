"""A plan as text: a line for every action, its reasons below it, and how many actions would run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.result.reasons import NEVER_BUILT, explain_action
from onnxbuild.report.result.summary import closing_line
from onnxbuild.report.wording import counted
from onnxbuild.store.traces import Last


def plan_text(
    graph: ActionGraph, outcomes: Mapping[str, Outcome], lasts: Mapping[str, Last], remarks: Mapping[str, str]
) -> str:
    """The plan of every action. `lasts`: how each ended the last time it ran; `remarks`: what else is said of some."""
    lines = [
        line
        for outcome in outcomes.values()
        for line in (*plan_lines(outcome, graph, outcomes, lasts.get(outcome.id)), *_remark(outcome, remarks))
    ]
    runs = [outcome for outcome in outcomes.values() if outcome.outcome == "run"]
    if not runs:
        return "\n".join([*lines, closing_line(outcomes, 0.0)])
    closing = f"{len(runs)} of {counted(len(outcomes), 'action')} would run"
    if all(_is_new(outcome, lasts.get(outcome.id)) for outcome in outcomes.values()):
        # Printed once: in a first build, it would be the reason on every line.
        lines = ["nothing has been built yet", *(line for outcome in runs for line in _new_lines(outcome, remarks))]
    return "\n".join([*lines, closing])


def _new_lines(outcome: Outcome, remarks: Mapping[str, str]) -> Iterator[str]:
    yield f"{outcome.outcome:<9} {outcome.id}"
    yield from _remark(outcome, remarks)


def _remark(outcome: Outcome, remarks: Mapping[str, str]) -> Iterator[str]:
    if outcome.id in remarks:
        yield f"{'':<9} {remarks[outcome.id]}"


def failed_last_time(last: Last | None) -> str | None:
    """`failed last time (OBE04)`, where an action failed in its last run."""
    if last is None or last.outcome != "failed":
        return None
    code = (last.message or "").partition(" ")[0]
    return f"failed last time ({code})" if code else "failed last time"


def _is_new(outcome: Outcome, last: Last | None) -> bool:
    return [reason.part for reason in outcome.reasons] == ["trace"] and failed_last_time(last) is None


def plan_lines(
    outcome: Outcome, graph: ActionGraph, outcomes: Mapping[str, Outcome], last: Last | None
) -> Iterator[str]:
    """What a run would do with one action, and why: its state, and below it each reason."""
    failed = failed_last_time(last) if outcome.outcome == "run" else None
    if [reason.part for reason in outcome.reasons] == ["trace"]:
        yield f"{outcome.outcome:<9} {outcome.id}" + (f"  ({NEVER_BUILT})" if failed is None else "")
    else:
        yield explain_action(outcome, graph, outcomes)
    if failed is not None:
        yield f"{'':<9} {failed}"
    if outcome.failure is not None:
        yield f"{'':<9} {outcome.failure.code} {outcome.failure.message}"
