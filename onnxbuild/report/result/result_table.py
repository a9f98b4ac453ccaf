"""The rows of variants as text and Markdown for people, and as JSON for programs; all three hold the same data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from onnxbuild.protocol import json_text
from onnxbuild.report.result.figures import NONE, megabytes, milliseconds, rate, significant, times
from onnxbuild.report.result.variant_rows import ACCURACY, Metric, Row
from onnxbuild.report.wording import cells

_CONTENDED = "* measured while other programs used the cores: compare within a row, not across runs"
_GAP = "  "

# The heading of each metric, in the order of the columns.
_HEADINGS: Mapping[str, str] = {
    ACCURACY: "accuracy",
    "accuracy_drop": "accuracy drop",
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
    "perplexity_ratio": "perplexity_ratio",
    "kl_mean": "kl_mean",
    "top1": "top1",
    "max_probability": "max_probability",
    "cosine_mean": "cosine_mean",
    "cosine_min": "cosine_mean",
}
# The metric to show for a variant that has a value in none of these columns.
_OTHERWISE = (ACCURACY, "cosine_mean", "max_abs")


class Cell(Struct, frozen=True):
    """The text of one value; `wrong` if it is outside its bound."""

    text: str
    wrong: bool = False


class Column(Struct, frozen=True):
    """A heading and one cell per row."""

    heading: str
    cells: tuple[Cell, ...]

    @property
    def width(self) -> int:
        """Cells of the terminal, with the heading on one line."""
        return max(cells(self.heading), *(cells(cell.text) for cell in self.cells))

    @property
    def narrowest(self) -> int:
        """Cells of the terminal, with the heading wrapped between its words; values do not wrap."""
        return max(*(cells(word) for word in self.heading.split()), *(cells(cell.text) for cell in self.cells))


def as_text(rows: Sequence[Row], width: int | None = None, *, colour: bool = False) -> str:
    """An aligned table; one that is wider than `width` cells continues below, under the names again.

    In colour it is drawn by rich, which wraps headings first. No rows or nothing measured: the empty text.
    """
    columns = columns_of(rows)
    if len(columns) < 2:  # noqa: PLR2004 - a column of names has no information
        return ""
    if colour:
        tables = [_rich_table(block, width) for block in blocks(columns, width, lambda column: column.narrowest)]
    else:
        tables = [_plain_table(block) for block in blocks(columns, width, lambda column: column.width)]
    return "\n\n".join([*tables, *(_wrapped(note, width) for note in notes(rows))])


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
    return [_CONTENDED] if any(row.contended for row in rows) else []


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """The names, and every column in which at least one row has a value."""
    if not rows:
        return []
    columns = [
        _column("size", (megabytes(row.size_bytes) for row in rows)),
        *(Column(_HEADINGS[name], tuple(_metric(row.metrics.get(name)) for row in rows)) for name in _shown(rows)),
        *_verdicts(rows),
        _column("latency p50", (milliseconds(row.latency_ms, marked=row.contended) for row in rows)),
        _column("PyTorch p50", (milliseconds(row.baseline_ms) for row in rows)),
        _column("speed-up", (times(row.speedup) for row in rows)),
        _column("first token", (milliseconds(row.first_token_ms) for row in rows)),
        _column("tokens/s", (rate(row.tokens_per_second) for row in rows)),
        _column("PyTorch tokens/s", (rate(row.baseline_tokens_per_second) for row in rows)),
        _column("generation speed-up", (times(row.generation_speedup) for row in rows)),
    ]
    filled = [column for column in columns if any(cell.text != NONE for cell in column.cells)]
    return [_column("variant", (row.name for row in rows)), *filled]


def blocks(columns: Sequence[Column], width: int | None, width_of: Callable[[Column], int]) -> list[list[Column]]:
    """The columns in groups that fit the width, each group led by the first column."""
    names, *others = columns
    made: list[list[Column]] = [[names]]
    for column in others:
        used = sum(width_of(one) + len(_GAP) for one in made[-1])
        if width is not None and used + width_of(column) > width and len(made[-1]) > 1:
            made.append([names])
        made[-1].append(column)
    return made


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
    return [name for name in _HEADINGS if name in wanted]


def _wrapped(text: str, width: int | None) -> str:
    if width is None:
        return text
    import textwrap

    return textwrap.fill(text, width)


def _verdicts(rows: Sequence[Row]) -> list[Column]:
    """The column of verdicts, where not every row passed."""
    if all(row.verdict in {"passed", None} for row in rows):
        return []
    words = {"passed": "passed", "warned": "WARNED", "failed": "FAILED", None: NONE}
    return [Column("check", tuple(Cell(words[row.verdict], row.verdict in {"warned", "failed"}) for row in rows))]


def _column(heading: str, texts: Iterable[str]) -> Column:
    return Column(heading, tuple(Cell(text) for text in texts))


def _plain_table(columns: Sequence[Column]) -> str:
    lines = [[column.heading for column in columns]]
    lines += [list(texts) for texts in zip(*([cell.text for cell in column.cells] for column in columns), strict=True)]
    widths = [column.width for column in columns]
    return "\n".join(_GAP.join(_aligned(line, widths)).rstrip() for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Names to the left, numbers to the right."""
    (name, width), *others = zip(line, widths, strict=True)
    return [name + " " * (width - cells(name)), *(" " * (w - cells(text)) + text for text, w in others)]


def _rich_table(columns: Sequence[Column], width: int | None) -> str:
    from rich.table import Table
    from rich.text import Text

    from onnxbuild.report.rich_console import ansi_console

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column, cells_wide in zip(columns, _widths(columns, width), strict=True):
        justify: Literal["left", "right"] = "left" if column is columns[0] else "right"
        table.add_column(column.heading, justify=justify, vertical="bottom", width=cells_wide, overflow="fold")
    for number in range(len(columns[0].cells)):
        texts = [column.cells[number] for column in columns]
        table.add_row(*(Text(cell.text, style="red" if cell.wrong else "") for cell in texts))
    console = ansi_console(width)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.written().splitlines())


def _widths(columns: Sequence[Column], width: int | None) -> list[int]:
    """The width of each column: its heading takes one line if there is room."""
    widths = [column.narrowest for column in columns]
    gaps = len(_GAP) * (len(columns) - 1)
    spare = sum(column.width for column in columns) if width is None else width - gaps - sum(widths)
    for number, column in enumerate(columns):
        if 0 < column.width - widths[number] <= spare:
            spare -= column.width - widths[number]
            widths[number] = column.width
    return widths


def _metric(metric: Metric | None) -> Cell:
    """The value, and the bound if it is outside of it."""
    if metric is None:
        return Cell(NONE)
    value = significant(metric.value)
    if metric.passed or metric.bound is None:
        return Cell(value)
    return Cell(f"{value} {_beyond(metric.value, metric.bound)} {metric.bound:g}", wrong=True)


def _beyond(value: float, bound: float) -> str:
    return "<" if value < bound else ">" if value > bound else "≠"


def _in_markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
