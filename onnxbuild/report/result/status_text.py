"""The status of a manifest: the table of the last results as text, Markdown or JSON, and what failed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from onnxbuild.deliver.best_variant import choice_rows
from onnxbuild.deliver.package_rows import package_rows
from onnxbuild.deliver.tuned_sessions import tuned_lines
from onnxbuild.deliver.variant_rows import rows
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.protocol import json_text
from onnxbuild.report.evidence.figure_tables import choices_as_markdown
from onnxbuild.report.evidence.throughput_columns import measured_texts
from onnxbuild.report.result import result_table
from onnxbuild.report.result.failed_actions import how_to_blame
from onnxbuild.report.result.package_table import packages_as_markdown, packages_as_text
from onnxbuild.report.wording import counted, folded, printable_lines


def as_text(
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    ended: float | None,
    width: int | None = None,
    *,
    interrupted: bool = False,
    manifest: str | None = None,
    options: Sequence[str] = (),
    published: Sequence[str] = (),
) -> str:
    """The table, the failures and a closing line. `ended`: when the last of the results was noted, in Unix time.

    `width`: cells of the terminal that the table is to fit. `interrupted`: whether the last run was. `manifest` and
    `options` are those of the command, for the one that finds the cause of a failure.
    `published`: a line for each upload.
    """
    lines = _failures(outcomes) if manifest is None else _with_commands(graph, outcomes, manifest, options)
    failures = folded("\n".join(lines), width)
    variants = rows(graph, outcomes)
    measured = measured_texts(graph, outcomes, width, noted=any(row.contended for row in variants))
    tuned = folded("\n".join(tuned_lines(graph, outcomes)), width)
    packages = packages_as_text(package_rows(graph, outcomes), width)
    choices = folded("\n".join(one.text for one in choice_rows(graph, outcomes)), width)
    parts = [
        result_table.as_text(variants, width),
        *measured,
        packages,
        tuned,
        choices,
        folded("\n".join(published), width),
        failures,
    ]
    return "\n\n".join(
        [*(part for part in parts if part), folded(_closing(graph, outcomes, ended, interrupted), width)]
    )


def as_markdown(
    graph: ActionGraph, outcomes: Mapping[str, Outcome], ended: float | None, *, interrupted: bool = False
) -> str:
    """The same as Markdown, for an issue or a pull request."""
    text = result_table.as_markdown(rows(graph, outcomes))
    failures = "\n".join(f"- {line}" for line in (*tuned_lines(graph, outcomes), *_failures(outcomes)))
    packages = packages_as_markdown(package_rows(graph, outcomes))
    choices = choices_as_markdown(choice_rows(graph, outcomes))
    return "\n\n".join(
        part for part in (text, choices, packages, failures, _closing(graph, outcomes, ended, interrupted)) if part
    )


def as_json(
    graph: ActionGraph, outcomes: Mapping[str, Outcome], ended: float | None, *, interrupted: bool = False
) -> str:
    """The same as one JSON object, with numbers in the units of their names."""
    status = {
        "variants": rows(graph, outcomes),
        "choices": choice_rows(graph, outcomes),
        "packages": package_rows(graph, outcomes),
        "actions": {name: outcomes[name].outcome if name in outcomes else None for name in graph.actions},
        "failures": {name: outcome.failure for name, outcome in outcomes.items() if outcome.failure is not None},
        "ended": ended,
        "interrupted": interrupted,
    }
    return json_text(status, indent=2)


def _with_commands(
    graph: ActionGraph, outcomes: Mapping[str, Outcome], manifest: str, options: Sequence[str]
) -> list[str]:
    """The failures, each with the command that finds its cause."""
    lines: list[str] = []
    for name, outcome in outcomes.items():
        lines += _failures({name: outcome})
        blaming = how_to_blame(outcome, graph, manifest, options)
        lines += [f"  = blame: {blaming}"] if blaming else []
    return lines


def _failures(outcomes: Mapping[str, Outcome]) -> list[str]:
    failed = ((name, outcome.failure) for name, outcome in outcomes.items() if outcome.failure is not None)
    return [
        f"failed last time: {name}: {failure.code} {printable_lines(failure.message)[0]}" for name, failure in failed
    ]


def _closing(graph: ActionGraph, outcomes: Mapping[str, Outcome], ended: float | None, interrupted: bool) -> str:  # noqa: FBT001 - a part of the state
    total = counted(len(graph.actions), "action")
    if ended is None:
        why = "the last run was interrupted" if interrupted else "nothing has been run yet"
        return f"0 of {total} have a result: {why}"
    failed = sum(outcome.outcome == "failed" for outcome in outcomes.values())
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(ended))
    closing = f"{len(outcomes) - failed} of {total} have a result, {failed} failed; the last changed at {when}"
    return f"{closing}; the last run was interrupted" if interrupted else closing
