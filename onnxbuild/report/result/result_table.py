"""The rows of variants as text and Markdown for people, and as JSON for programs; all three hold the same data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onnxbuild.deliver.variant_rows import ACCURACY, Metric, Row, is_uneven
from onnxbuild.protocol import json_text
from onnxbuild.report.result.figures import (
    AS_FAST,
    NONE,
    beside_bound,
    megabytes,
    milliseconds,
    rate,
    significant,
    times,
)
from onnxbuild.report.result.table_layout import Cell, Column, Line, blocks
from onnxbuild.report.wording import folded

CONTENDED = "* measured while other programs used the cores: compare within a row, not across runs"
_UNEVEN = "† the median of the ratios of single rounds; the medians of all calls differ from it by more than 5 %"
_AS_FAST = f"{AS_FAST}: the ratios of single rounds lie on both sides of 1, so no difference was shown"

# The heading of each metric, in the order of the columns.
HEADINGS: Mapping[str, str] = {
    ACCURACY: "accuracy",
    "accuracy_drop": "accuracy drop",
    "wer": "WER",
    "transcript_wer": "WER to reference",
    "perplexity_ratio": "perplexity ratio",
    "kl_mean": "KL divergence",
    "top1": "top-1",
    "max_probability": "probability diff",
    "cosine_mean": "cosine",
    "cosine_min": "worst cosine",
    "max_abs": "max diff",
    "mean_abs": "mean diff",
}
# The column that a bound adds to the table. The worst row and the largest element have a column only if they failed.
_COLUMN_OF: Mapping[str, str] = {
    "accuracy_drop": ACCURACY,
    "wer": "wer",
    "transcript_wer": "transcript_wer",
    "perplexity_ratio": "perplexity_ratio",
    "kl_mean": "kl_mean",
    "top1": "top1",
    "max_probability": "max_probability",
    "cosine_mean": "cosine_mean",
    "cosine_min": "cosine_mean",
}
# The metric to show for a variant that has a value in none of these columns.
_OTHERWISE = (ACCURACY, "cosine_mean", "max_abs")


def as_text(rows: Sequence[Row], width: int | None = None, *, colour: bool = False) -> str:
    """An aligned table that fits `width` cells; colour changes none of its words and places.

    No rows or nothing measured: the empty text.
    """
    columns = columns_of(rows)
    if len(columns) < 2:  # noqa: PLR2004 - a column of names has no information
        return ""
    return "\n\n".join([drawn(columns, width, colour=colour), *(folded(note, width, hang=2) for note in notes(rows))])


def drawn(columns: Sequence[Column], width: int | None = None, *, colour: bool = False) -> str:
    """The text of a table: as many blocks below each other as the width needs."""
    draw = _coloured if colour else _plain
    return "\n\n".join(map(draw, blocks(columns, width)))


def as_markdown(rows: Sequence[Row]) -> str:
    """A table of GitHub's Markdown."""
    columns = columns_of(rows)
    if not columns:
        return ""
    lines = [[column.heading for column in columns], ["---", *["---:"] * (len(columns) - 1)]]
    lines += [[column.cells[number].text for column in columns] for number in range(len(rows))]
    table = "\n".join(f"| {' | '.join(_in_markdown(text) for text in line)} |" for line in lines)
    return "\n\n".join([table, *(note.replace("*", "\\*", 1) for note in notes(rows))])


def as_json(rows: Sequence[Row]) -> str:
    """An array with one object per variant; what was not measured is null."""
    return json_text(rows, indent=2)


def notes(rows: Iterable[Row]) -> list[str]:
    """What the marks in the table mean, where there are any."""
    rows = list(rows)
    uneven = any(_uneven(row) or _uneven_text(row) for row in rows)
    same = any(row.is_as_fast or row.generates_as_fast for row in rows)
    marks = {CONTENDED: any(row.contended for row in rows), _UNEVEN: uneven, _AS_FAST: same}
    return [note for note, is_used in marks.items() if is_used]


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """The names, and every column in which at least one row has a value."""
    if not rows:
        return []
    columns = [
        _column("size", (megabytes(row.size_bytes) for row in rows)),
        *(Column(HEADINGS[name], tuple(_metric(row.metrics.get(name)) for row in rows)) for name in _shown(rows)),
        *_verdicts(rows),
        _column("state", (row.state or NONE for row in rows)),
        _column("not checked here", (f"skipped: {row.skipped}" if row.skipped else NONE for row in rows)),
        _column("latency p50", (milliseconds(row.latency_ms, marked=row.contended) for row in rows)),
        _column("PyTorch p50", (milliseconds(row.baseline_ms) for row in rows)),
        _column("speed-up", (_ratio(row.speedup, same=row.is_as_fast, marked=_uneven(row)) for row in rows)),
        _column("first token", (milliseconds(row.first_token_ms) for row in rows)),
        _column("tokens/s", (rate(row.tokens_per_second) for row in rows)),
        _column("PyTorch tokens/s", (rate(row.baseline_tokens_per_second) for row in rows)),
        _column("generation speed-up", map(_text_ratio, rows)),
        _column("first token (host double)", (milliseconds(row.double_first_token_ms) for row in rows)),
        _column("tokens/s (host double)", (rate(row.double_tokens_per_second) for row in rows)),
    ]
    filled = [column for column in columns if any(cell.text != NONE for cell in column.cells)]
    return [_column("variant", (row.name for row in rows)), *filled]


def _ratio(value: float | None, *, same: bool, marked: bool) -> str:
    return AS_FAST if value is not None and same else times(value, marked=marked)


def _text_ratio(row: Row) -> str:
    return _ratio(row.generation_speedup, same=row.generates_as_fast, marked=_uneven_text(row))


def _uneven(row: Row) -> bool:
    """Whether the latencies beside a speed-up have another ratio than it says."""
    return not row.is_as_fast and is_uneven(row.speedup, row.baseline_ms, row.latency_ms)


def _uneven_text(row: Row) -> bool:
    return not row.generates_as_fast and is_uneven(
        row.generation_speedup, row.tokens_per_second, row.baseline_tokens_per_second
    )


def _shown(rows: Sequence[Row]) -> list[str]:
    """The metrics that have a column: what some row is judged by, and what some row failed."""
    wanted = {
        _COLUMN_OF[name]
        for row in rows
        for name, metric in row.metrics.items()
        if name in _COLUMN_OF and metric.bound is not None
    }
    wanted |= {name for row in rows for name, metric in row.metrics.items() if not metric.passed or name == ACCURACY}
    for row in rows:
        if not wanted & row.metrics.keys():
            wanted |= set([name for name in _OTHERWISE if name in row.metrics][:1])
    return [name for name in HEADINGS if name in wanted]


def _verdicts(rows: Sequence[Row]) -> list[Column]:
    """The column of verdicts, where not every row passed."""
    if all(row.verdict in {"passed", None} for row in rows):
        return []
    words = {"passed": "passed", "warned": "WARNED", "failed": "FAILED", None: NONE}
    return [Column("check", tuple(Cell(words[row.verdict], row.verdict in {"warned", "failed"}) for row in rows))]


def _column(heading: str, texts: Iterable[str]) -> Column:
    return Column(heading, tuple(Cell(text) for text in texts))


def _plain(lines: Sequence[Line]) -> str:
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def _coloured(lines: Sequence[Line]) -> str:
    from rich.text import Text

    from onnxbuild.report.rich_console import ansi_console

    console = ansi_console(None)
    console.print(*(Text.assemble(*line) for line in lines), sep="\n", end="", soft_wrap=True)
    return console.written()


def _metric(metric: Metric | None) -> Cell:
    """The value, and the bound if it is outside of it."""
    if metric is None:
        return Cell(NONE)
    if metric.passed or metric.bound is None:
        return Cell(significant(metric.value))
    value, bound = beside_bound(metric.value, metric.bound)
    return Cell(f"{value} {_beyond(metric.value, metric.bound)} {bound}", wrong=True)


def _beyond(value: float, bound: float) -> str:
    return "<" if value < bound else ">" if value > bound else "≠"


def _in_markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
