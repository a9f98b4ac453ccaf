"""The tables of a report: variants, metrics, latencies. Every format shows the same cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from onnxbuild.deliver.best_variant import CandidateRow, ChoiceRow
from onnxbuild.report.evidence.evidence import Check, Evidence, Measurement, Ratio, Throughput, VariantEvidence
from onnxbuild.report.markdown_text import message
from onnxbuild.report.result import result_table
from onnxbuild.report.result.figures import NONE, beside_bound, rate, significant
from onnxbuild.report.result.package_table import HEADINGS, package_cells
from onnxbuild.report.result.table_layout import Cell
from onnxbuild.report.wording import counted
from onnxbuild.tables.thresholds import METRICS

_OPERATORS: Mapping[str, str] = {"min": "≥", "max": "≤"}
_CHOICES = ("variant", "decided by", "bounds", "result")
_CHECKS = ("variant", "metric", "value", "interval", "bound", "verdict", "ran on", "compared on", "worst at")
_NOT_ALWAYS = frozenset({"interval", "ran on"})
_LATENCIES = (
    "variant", "engine", "stage", "batch", "tokens", "ran as", "past", "threads", "p50", "p90", "p99", "mean", "min",
    "max", "stdev", "calls", "samples/s", "tokens/s", "speed-up", "contended",
)  # fmt: skip
_THROUGHPUTS = (
    "variant", "engine", "characters", "tokenizer", "order", "batch", "workers", "threads", "texts/s", "min", "max",
    "tokens/s", "padding", "texts", "speed-up", "best", "contended",
)  # fmt: skip


class Table(Struct, frozen=True):
    """Headings, and rows of as many cells."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def variant_table(evidence: Evidence) -> Table:
    """One row per variant, with the columns that `run` and `status` show."""
    columns = result_table.columns_of([variant.row for variant in evidence.variants])
    return Table(
        tuple(column.heading for column in columns),
        tuple(zip(*(column.cells for column in columns), strict=True)),
    )


def package_table(evidence: Evidence) -> Table:
    """One row per package: what was written, and what its client says."""
    return Table(HEADINGS, tuple(package_cells(row) for row in evidence.built_packages))


def choice_table(evidence: Evidence) -> Table:
    """One row per variant of each `select:`: the figures that the choice goes by, and whether it was chosen."""
    rows = [
        tuple(map(Cell, (f"{choice.model}/{one.target}", *_figures_of(choice, one), _place_of(choice, one))))
        for choice in evidence.choices
        for one in choice.candidates
    ]
    return Table(_CHOICES, tuple(rows))


def choices_as_markdown(choices: Iterable[ChoiceRow]) -> str:
    """One line per choice."""
    return "\n".join(f"- {message(choice.text)}" for choice in choices)


def _figures_of(choice: ChoiceRow, one: CandidateRow) -> tuple[str, str]:
    """The figure that decides, and those that are bounded, each with its bound."""
    decides = choice.goal.rpartition(" ")[2]
    bounded = [f"{_shown(one, text.partition(' ')[0])} ({text})" for text in choice.subject_to]
    return f"{_shown(one, decides)} ({choice.goal})", ", ".join(bounded) or NONE


def _shown(one: CandidateRow, figure: str) -> str:
    value = one.figures.get(figure)
    return NONE if value is None else f"{value:.4g}"


def _place_of(choice: ChoiceRow, one: CandidateRow) -> str:
    if one.target == choice.best:
        return "best"
    return "fits, and is not the best" if one.excluded is None else f"excluded: {one.excluded}"


def check_table(evidence: Evidence) -> Table:
    """One row per metric of each validation; those that are judged by come first. Two columns may be left out."""
    rows = [
        _check_row(variant, check)
        for variant in evidence.variants
        for check in sorted(variant.checks, key=lambda check: check.bound is None)
    ]
    return _of_used(_CHECKS, rows, tuple(name for name in _CHECKS if name not in _NOT_ALWAYS))


def _of_used(head: Sequence[str], rows: Sequence[tuple[Cell, ...]], always: Sequence[str]) -> Table:
    """The table without the columns that have no value in any row."""
    used = [
        number for number, heading in enumerate(head)
        if heading in always or any(row[number].text not in {NONE, ""} for row in rows)
    ]  # fmt: skip
    return Table(tuple(head[number] for number in used), tuple(tuple(row[number] for number in used) for row in rows))


def _check_row(variant: VariantEvidence, check: Check) -> tuple[Cell, ...]:
    value, bound = significant(check.value), NONE
    if check.bound is not None:
        shown = beside_bound(check.value, check.bound)
        value = value if check.passed else shown[0]
        bound = f"{_OPERATORS[check.side]} {shown[1]}"
    verdict = NONE if check.bound is None else "passed" if check.passed else "FAILED"
    texts = (
        variant.name, check.metric, value, _interval(check), bound, verdict, check.ran_on or NONE, check.data or NONE,
        check.worst_at or NONE,
    )  # fmt: skip
    return tuple(Cell(text, wrong=not check.passed and text in {value, "FAILED"}) for text in texts)


def _interval(check: Check) -> str:
    """`0.24 to 0.48; difference -0.02 to 0.01`: that of the value, and that of its difference to the reference's."""
    named = (("", check.value_interval), ("difference ", check.difference_interval))
    return "; ".join(f"{name}{' to '.join(map(significant, one))}" for name, one in named if one is not None) or NONE


def meanings(evidence: Evidence) -> dict[str, str]:
    """What each metric of the validations is, in the order of their table; none for those of a plugin."""
    names = dict.fromkeys(check.metric for variant in evidence.variants for check in variant.checks)
    return {name: METRICS[name].meaning for name in names if name in METRICS}


def latency_table(evidence: Evidence) -> Table:
    """One row per engine and configuration of each variant. Columns without any value are left out."""
    rows = [_latency_row(variant, measurement) for variant in evidence.variants for measurement in variant.measurements]
    return _of_used(_LATENCIES, rows, ("variant", "engine"))


def throughput_table(evidence: Evidence) -> Table:
    """One row per engine and setting of each variant. Columns without any value are left out."""
    rows = [_throughput_row(variant, one) for variant in evidence.variants for one in variant.throughputs]
    return _of_used(_THROUGHPUTS, rows, ("variant", "engine"))


def _throughput_row(variant: VariantEvidence, one: Throughput) -> tuple[Cell, ...]:
    texts = (
        variant.name, one.engine, f"> {one.longer_than}" if one.longer_than else NONE,
        "timed" if one.tokenized == "within" else NONE, one.order, str(one.batch), str(one.workers), str(one.threads),
        rate(one.texts_per_second), rate(one.least_per_second), rate(one.most_per_second), rate(one.tokens_per_second),
        f"{one.padding_ratio:.2f}×", str(one.texts), "; ".join(map(ratio_words, one.ratios)) or NONE,
        "best" if one.best else NONE, "yes" if one.contended else NONE,
    )  # fmt: skip
    return tuple(map(Cell, texts))


def _latency_row(variant: VariantEvidence, one: Measurement) -> tuple[Cell, ...]:
    spread = (one.p50_ms, one.p90_ms, one.p99_ms, one.mean_ms, one.min_ms, one.max_ms, one.stdev_ms)
    ran_as = NONE if one.ran_as is None else one.ran_as.words
    engine = f"{one.engine} ({one.ran_on})" if one.ran_on else one.engine
    texts = (
        variant.name, engine, one.stage, str(one.batch), str(one.sequence), ran_as,
        str(one.past) if one.past else NONE, str(one.threads), *(f"{value:.2f}" for value in spread), str(one.calls),
        rate(one.samples_per_second), rate(one.tokens_per_second), "; ".join(map(ratio_words, one.ratios)) or NONE,
        "yes" if one.contended else NONE,
    )  # fmt: skip
    return tuple(map(Cell, texts))


def ratio_words(ratio: Ratio) -> str:
    """`1.48× torch (1.37 to 1.65)`; no ratio where the range of the rounds includes 1."""
    if ratio.least <= 1 <= ratio.most:
        return f"as {ratio.baseline} ({ratio.least:.2f} to {ratio.most:.2f})"
    return f"{ratio.median:.2f}× {ratio.baseline} ({ratio.least:.2f} to {ratio.most:.2f})"


def verdicts(evidence: Evidence) -> str:
    """`4 variants (3 passed, 1 failed)`."""
    words = ("passed", "passed with a warning", "failed", "outdated", "not validated")
    found = [verdict(variant) for variant in evidence.variants]
    counts = [f"{found.count(text)} {text}" for text in words if text in found]
    return f"{counted(len(found), 'variant')} ({', '.join(counts)})" if counts else "0 variants"


def verdict(variant: VariantEvidence) -> str:
    """What the results say about a variant as the manifest describes it: those of an earlier manifest say nothing."""
    if variant.outdated:
        return "outdated"
    if variant.has_failed:
        return "failed"
    return {"passed": "passed", "warned": "passed with a warning"}.get(variant.row.verdict or "", "not validated")


def outdated_lines(evidence: Evidence) -> list[str]:
    """One line per variant with results of an earlier manifest."""
    return [
        f"{variant.name}: these results are of an earlier manifest or source ({variant.outdated})"
        for variant in evidence.variants
        if variant.outdated
    ]


def in_markdown(table: Table, *, first: int = 1) -> str:
    """The table in GitHub's Markdown; the first columns are aligned to the left."""
    lines: Iterable[Sequence[str]] = [
        table.head,
        ["---"] * first + ["---:"] * (len(table.head) - first),
        *([_bold(cell) for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """A text of somebody else as one line of Markdown that begins no element."""
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _bold(cell: Cell) -> str:
    text = plain(cell.text)
    return f"**{text}**" if cell.wrong else text
