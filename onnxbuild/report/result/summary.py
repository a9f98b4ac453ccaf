"""The end of a run: the table of variants, generated text, each failure with what helps, and one closing line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxbuild.deliver.best_variant import chosen_variants, in_words
from onnxbuild.deliver.package_rows import package_rows
from onnxbuild.deliver.tuned_sessions import tuned_lines
from onnxbuild.deliver.variant_rows import rows
from onnxbuild.diagnostics import Diagnostic
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.printable import printable
from onnxbuild.report.evidence.throughput_columns import measured_texts
from onnxbuild.report.publishing.published_text import published_lines
from onnxbuild.report.render_diagnostics import as_text as diagnostic_as_text
from onnxbuild.report.result.failed_actions import failures
from onnxbuild.report.result.generated_text import generated_text
from onnxbuild.report.result.package_table import packages_as_text
from onnxbuild.report.result.result_table import as_text
from onnxbuild.report.wording import counted, folded, seconds_in_words

_COUNTED = ("built", "unchanged", "hit", "failed")
_COUNTED_WHERE_ANY = ("blocked", "skipped", "run")


def summary(
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    *,
    seconds: float,
    manifest: str | None = None,
    options: Sequence[str] = (),
    common: Sequence[str] = (),
    interrupted: bool = False,
    fetched: int = 0,
    earlier: Mapping[str, Outcome] | None = None,
    brief: bool = False,
    undelivered: Sequence[Diagnostic] | None = None,
    width: int | None = None,
    colour: bool = False,
) -> str:
    """Table, generated text, failures and closing line, without a line break at the end.

    `manifest` and `options` are those of the run, for the command that repeats a failure; `common` are those of the
    options that every command takes. `brief`: no table and no
    text. An interrupted run has none either: what it measured is incomplete. `width`: cells of the terminal; without
    it no line wraps. A run without work is not coloured: it does not load rich. `fetched`: how many hits came from the
    remote store. `earlier`: uploads that earlier runs have made and that still have these results.
    `undelivered`: failures of output folders, if any could not be written.
    """
    colour = colour and any(outcome.outcome != "hit" for outcome in outcomes.values())
    parts: list[str] = []
    if not brief and not interrupted:
        variants = rows(graph, outcomes)
        noted = any(row.contended for row in variants)
        measured = measured_texts(graph, outcomes, width, noted=noted, colour=colour)
        packages = packages_as_text(package_rows(graph, outcomes), width, colour=colour)
        table = "\n\n".join(filter(None, [as_text(variants, width, colour=colour), *measured, packages]))
        # Text that rich has not drawn is escaped here; on a terminal, colours are kept.
        best = "\n".join(in_words(chosen) for chosen in chosen_variants(graph, outcomes) if chosen.best is not None)
        tuned = "\n".join(tuned_lines(graph, outcomes))
        published = "\n".join(published_lines(graph, {**(earlier or {}), **outcomes}))
        texts = [
            printable(generated_text(graph, outcomes, width)),
            *(printable(folded(one, width)) for one in (tuned, best, published)),
        ]
        parts = [table if colour else printable(table), *texts]
    failed = failures(graph, outcomes, manifest=manifest, options=options, common=common)
    parts += [diagnostic_as_text(one, colour=colour, width=width) for one in (*failed, *(undelivered or ()))]
    closing = closing_line(outcomes, seconds, interrupted=interrupted, fetched=fetched, all_well=undelivered is None)
    return "\n\n".join([*filter(None, parts), closing])


def closing_line(
    outcomes: Mapping[str, Outcome],
    seconds: float,
    *,
    interrupted: bool = False,
    fetched: int = 0,
    all_well: bool = True,
) -> str:
    """`up to date: 12 actions, nothing to do`, or `built 9, unchanged 0, hit 3, failed 0 in 41s`.

    `fetched`: how many of the hits this run has fetched from the remote store. `all_well`: whether every output folder
    was written; otherwise a line that says so follows.
    """
    counts: dict[str, int] = {}
    for outcome in outcomes.values():
        counts[outcome.outcome] = counts.get(outcome.outcome, 0) + 1
    if interrupted:
        finished = sum(count for outcome, count in counts.items() if outcome in SUCCEEDED)
        return f"interrupted: {finished} of {len(outcomes)} finished and kept; run again to continue"
    if set(counts) <= {"hit"}:
        did = f", {fetched} fetched from the remote store" if fetched else ", nothing to do" if all_well else ""
        return f"up to date: {counted(counts.get('hit', 0), 'action')}{did}"
    words = [f"{name} {counts.get(name, 0)}" for name in _COUNTED]
    if fetched:
        words[_COUNTED.index("hit")] += f" ({fetched} fetched from the remote store)"
    words += [f"{name} {counts[name]}" for name in _COUNTED_WHERE_ANY if counts.get(name)]
    return f"{', '.join(words)} in {seconds_in_words(seconds)}"
