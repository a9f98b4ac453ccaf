"""The rows of packages as text and Markdown: what was written, and whether its client loads it."""

from __future__ import annotations

from collections.abc import Sequence

from onnxbuild.deliver.package_rows import PackageRow
from onnxbuild.report.result.figures import NONE, megabytes
from onnxbuild.report.result.result_table import drawn
from onnxbuild.report.result.table_layout import GAP, Cell, Column
from onnxbuild.report.wording import cells, folded

HEADINGS = ("package", "size", "files", "client check", "largest difference")
_CHECK = HEADINGS.index("client check")


def packages_as_text(rows: Sequence[PackageRow], width: int | None = None, *, colour: bool = False) -> str:
    """An aligned table; the empty text without packages.

    Where the words about a check are wider than the terminal, they stand below the table, in several lines.
    """
    if not rows:
        return ""
    lines = [package_cells(row) for row in rows]
    wide = [row for row in rows if width is not None and cells(check_in_words(row)) + len(GAP) > width]
    if wide:
        lines = [(*line[:_CHECK], _shortened(row), *line[_CHECK + 1 :]) for line, row in zip(lines, rows, strict=True)]
    columns = [Column(heading, tuple(line[number] for line in lines)) for number, heading in enumerate(HEADINGS)]
    below = "\n".join(f"{row.name}: {check_in_words(row)}" for row in wide)
    return "\n\n".join(filter(None, [drawn(columns, width, colour=colour), folded(below, width)]))


def _shortened(row: PackageRow) -> Cell:
    """How the check ended, without more."""
    check = package_cells(row)[_CHECK]
    return Cell(check.text.partition(":")[0].partition(" (")[0], wrong=check.wrong)


def packages_as_markdown(rows: Sequence[PackageRow]) -> str:
    """A table of GitHub's Markdown; the empty text without packages."""
    if not rows:
        return ""
    lines = [list(HEADINGS), ["---", *["---:"] * (len(HEADINGS) - 1)]]
    lines += [[cell.text.replace("|", "\\|") for cell in package_cells(row)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def check_in_words(row: PackageRow) -> str:
    """`passed: optimum ORTModelForCausalLM`, `skipped: needs node`, `FAILED`, `off`; and what is only prepared."""
    prepared = ", ".join(name for name, state in row.states.items() if state == "prepared")
    return f"{_checked(row)} (prepared: {prepared})" if prepared else _checked(row)


def _checked(row: PackageRow) -> str:
    if row.check == "passed":
        return f"passed: {row.client}" if row.client else "passed"
    words = {"failed": "FAILED", "off": "off", "skipped": f"skipped: {row.needs}", None: NONE}
    return words[row.check]


def package_cells(row: PackageRow) -> tuple[Cell, ...]:
    """The cells of a row, under `HEADINGS`."""
    files = NONE if row.files is None else f"{row.files:,}"
    difference = NONE if row.max_difference is None else f"{row.max_difference:.2g}"
    check = Cell(check_in_words(row), wrong=row.check in {"failed", "skipped"})
    return Cell(row.name), Cell(megabytes(row.size_bytes)), Cell(files), check, Cell(difference)
