"""The end of a run: a table with a row for each variant, each failure with what helps, and one closing line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.report.progress.frame import cells
from onnxbuild.report.progress.lines import one_printable_line_each, seconds_in_words
from onnxbuild.report.result.failure_details import again, how_to_accept, place_in_manifest
from onnxbuild.report.result.generated_text import generated_text
from onnxbuild.report.result.reasons import WHOLE, why
from onnxbuild.report.result.variant_rows import Row, broken_metric, metrics_of, rows

_NONE = "–"  # noqa: RUF001 - a dash as tables have it for what was not measured
_DECIMALS = ((100, 0), (10, 1))  # three significant digits: more would be noise
_COUNTED = ("built", "unchanged", "hit", "failed")
_COUNTED_WHERE_ANY = ("blocked", "skipped", "run")
_CONTENDED = "* measured while other programs used the cores: compare within a row, not across runs"


def summary(
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    *,
    seconds: float,
    manifest: str | None = None,
    options: Sequence[str] = (),
    interrupted: bool = False,
    brief: bool = False,
) -> str:
    """Table, generated text, failures and closing line, without a newline at the end.

    `manifest` and `options` are those of the run, for the command that repeats a failure. `brief`: no table and no
    text. An interrupted run has none either: what it measured is incomplete.
    """
    parts = [] if brief or interrupted else [table(rows(graph, outcomes)), generated_text(graph, outcomes)]
    parts += failures(graph, outcomes, manifest=manifest, options=options)
    return "\n\n".join([*(p for p in parts if p), closing_line(outcomes, seconds, interrupted=interrupted)])


def closing_line(outcomes: Mapping[str, Outcome], seconds: float, *, interrupted: bool = False) -> str:
    """`up to date: 12 actions, nothing to do`, or `built 9, unchanged 0, hit 3, failed 0 in 41s`."""
    if interrupted:
        kept = sum(outcome.outcome in SUCCEEDED for outcome in outcomes.values())
        return f"interrupted: {kept} of {len(outcomes)} finished and kept; run again to continue"
    counts: dict[str, int] = {}
    for outcome in outcomes.values():
        counts[outcome.outcome] = counts.get(outcome.outcome, 0) + 1
    if set(counts) <= {"hit"}:
        total = counts.get("hit", 0)
        return f"up to date: {total} action{'' if total == 1 else 's'}, nothing to do"
    words = [f"{name} {counts.get(name, 0)}" for name in _COUNTED]
    words += [f"{name} {counts[name]}" for name in _COUNTED_WHERE_ANY if counts.get(name)]
    return f"{', '.join(words)} in {seconds_in_words(seconds)}"


def table(found: Sequence[Row]) -> str:
    """The rows under their headings, aligned; the empty string without rows."""
    if not found:
        return ""
    shown = columns(found)
    widths = [max(cells(head), *(cells(value) for value in values)) for head, values in shown]
    lines = [[head for head, _ in shown], *(list(line) for line in zip(*(v for _, v in shown), strict=True))]
    text = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    notes = ["", _CONTENDED] if any(r.contended for r in found) else []
    return "\n".join([*text, *notes])


def columns(found: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """The headings with their values; columns that no row fills are left out, except the first six."""
    shown = [
        ("variant", [r.name for r in found]),
        ("size", [_megabytes(r.size_bytes) for r in found]),
        ("accuracy", [_accuracy(r) for r in found]),
        ("latency p50", [_milliseconds(r.latency_ms, marked=r.contended) for r in found]),
        ("PyTorch p50", [_milliseconds(r.baseline_ms) for r in found]),
        ("speed-up", [_times(r.speedup) for r in found]),
    ]
    if any(r.tokens_per_second is not None for r in found):
        shown += [
            ("first token", [_milliseconds(r.first_token_ms) for r in found]),
            ("tokens/s", [_rate(r.tokens_per_second) for r in found]),
            ("PyTorch tokens/s", [_rate(r.baseline_tokens_per_second) for r in found]),
            ("generation speed-up", [_times(r.generation_speedup) for r in found]),
        ]
    return shown


def failures(
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    *,
    manifest: str | None = None,
    options: Sequence[str] = (),
) -> tuple[str, ...]:
    """Each failed action: what was found and where, why it ran, the first step that breaks it, and what helps."""
    failed = (outcome for outcome in outcomes.values() if outcome.outcome == "failed")
    return tuple(_failure(outcome, graph, outcomes, manifest, options) for outcome in failed)


def _failure(
    outcome: Outcome,
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    manifest: str | None,
    options: Sequence[str],
) -> str:
    failure = outcome.failure
    code, message = (failure.code, failure.message) if failure else ("OBE00", "no reason was given")
    first, *rest = one_printable_line_each(message)
    notes: list[tuple[str, str]] = []
    if reasons := [words for words in why(outcome, graph, outcomes) if words != WHOLE["trace"]]:
        notes.append(("ran because", "; ".join(reasons)))
    if breaker := first_step_that_breaks(outcome, graph, outcomes):
        notes.append(("first step that breaks it", breaker))
    notes += failure.notes if failure else ()
    if accept := how_to_accept(outcome, graph):
        notes.append(("accept", accept))
    if outcome.log:
        notes.append(("log", outcome.log))
    if manifest:
        notes.append(("again", again(outcome, manifest, options)))
    lines = [f"{code} {outcome.id} failed: {first}", *(f"    {line}" for line in rest)]
    lines += place_in_manifest(outcome, graph)
    for label, text in notes:
        head, *more = one_printable_line_each(text)
        lines += [f"  = {label}: {head}", *(f"      {line}" for line in more)]
    return "\n".join(lines)


def first_step_that_breaks(outcome: Outcome, graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> str | None:
    """`quantize (fp32 1.000, o2 1.000, int8 0.971)`: from the checks of variants that are stages of this one.

    None where the check names no metric, or no earlier stage was checked.
    """
    variant = next((v for v in graph.variants if outcome.id in v.checks), None)
    metric = broken_metric(outcome)
    if variant is None or metric is None:
        return None
    stages = [(v, check) for v in _stages(variant, graph) if (check := _check(v, metric, outcomes))]
    if all(v.steps == variant.steps for v, _ in stages):
        return None  # this variant alone tells nothing of where it broke
    broken = next(n for n, (_, check) in enumerate(stages) if broken_metric(check) == metric)
    done = stages[broken - 1][0].steps if broken else ()
    steps = [graph.actions[step].kind for step in stages[broken][0].steps[len(done) :] if step in graph.actions]
    values = ", ".join(f"{v.target} {_significant(metrics_of(check)[metric])}" for v, check in stages)
    return f"{' or '.join(dict.fromkeys(steps))} ({values})"


def _stages(variant: Variant, graph: ActionGraph) -> list[Variant]:
    """Variants of the same model whose steps are the beginning of this one's, the shortest first, and this one."""
    found = {
        v.steps: v for v in graph.variants if v.model == variant.model and v.steps == variant.steps[: len(v.steps)]
    }
    found[variant.steps] = variant
    return [found[steps] for steps in sorted(found, key=len)]


def _check(variant: Variant, metric: str, outcomes: Mapping[str, Outcome]) -> Outcome | None:
    checks = (outcomes[name] for name in variant.checks if name in outcomes)
    return next((check for check in checks if isinstance(metrics_of(check).get(metric), int | float)), None)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Names to the left, numbers to the right."""
    (name, width), *others = zip(line, widths, strict=True)
    return [name + " " * (width - cells(name)), *(" " * (w - cells(text)) + text for text, w in others)]


def _megabytes(size_bytes: int | None) -> str:
    return _NONE if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"


def _accuracy(row: Row) -> str:
    words = _NONE if row.accuracy is None else f"{row.metric} {_significant(row.accuracy)}"
    return {"passed": words, "warned": f"{words}, WARNED", "failed": f"{words}, FAILED"}[row.verdict]


def _significant(value: float) -> str:
    """Four decimals near one, where the fourth matters; three significant digits for small differences."""
    smallest = 1e-2
    return f"{value:.4f}" if value == 0 or abs(value) >= smallest else f"{value:.1e}"


def _milliseconds(value: float | None, *, marked: bool = False) -> str:
    if value is None:
        return _NONE
    decimals = next((digits for least, digits in _DECIMALS if value >= least), 2)
    return f"{value:.{decimals}f} ms" + ("*" if marked else "")


def _rate(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1f}"


def _times(value: float | None) -> str:
    return _NONE if value is None else f"{value:.2f}×"
