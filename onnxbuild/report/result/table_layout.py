"""How a table is set: columns side by side, in a width. Neither a heading nor a value is ever broken over two lines.

Columns that do not fit continue below, under the names again. Names that would leave too little room for the values
get a line of their own, whole, so that a person can copy them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from onnxbuild.report.wording import cells

GAP = "  "


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
        """Cells of the terminal that the widest text takes."""
        return max(cells(self.heading), *(cells(cell.text) for cell in self.cells))


Line = list[tuple[str, str]]  # texts, each with its style as rich names styles


def blocks(columns: Sequence[Column], width: int | None) -> list[list[Line]]:
    """The lines of each part of a table that fits the width, the first column being that of the names."""
    names, *others = columns
    if _names_fit(names, others, width):
        room = None if width is None else width - names.width
        return [list(_beside(names, group)) for group in _groups(others, room)]
    return [list(_below(names, group)) for group in _groups(others, width)]


def _names_fit(names: Column, others: Sequence[Column], width: int | None) -> bool:
    """Whether names stand beside the values: where everything fits, or where they leave half of the width."""
    if width is None or _together(names, *others) <= width:
        return True
    return names.width <= width // 2 and all(_together(names, one) <= width for one in others)


def _together(*columns: Column) -> int:
    return sum(column.width for column in columns) + len(GAP) * (len(columns) - 1)


def _groups(columns: Sequence[Column], room: int | None) -> Iterator[list[Column]]:
    """The columns in groups that fit the room, a gap before each; one that is wider than the room is alone."""
    group: list[Column] = []
    for column in columns:
        if room is not None and group and sum(one.width + len(GAP) for one in (*group, column)) > room:
            yield group
            group = []
        group.append(column)
    yield group


def _beside(names: Column, values: Sequence[Column]) -> Iterator[Line]:
    """Each name at the beginning of the line of its values."""
    for number in (None, *range(len(names.cells))):
        (text, style), *rest = _name(names, number), *_values(values, number)
        yield [(text, style), (" " * (names.width - cells(text)), ""), *rest]


def _below(names: Column, values: Sequence[Column]) -> Iterator[Line]:
    """Each name on a line, and its values on the next."""
    for number in (None, *range(len(names.cells))):
        yield [_name(names, number)]
        yield _values(values, number)


def _name(names: Column, number: int | None) -> tuple[str, str]:
    cell = _cell(names, number)
    return cell.text, _style(cell, number)


def _values(columns: Sequence[Column], number: int | None) -> Line:
    """The cells of one row, aligned to the right; without a number, the headings."""
    line: Line = []
    for column in columns:
        cell = _cell(column, number)
        line += [(GAP + " " * (column.width - cells(cell.text)), ""), (cell.text, _style(cell, number))]
    return line


def _cell(column: Column, number: int | None) -> Cell:
    return Cell(column.heading) if number is None else column.cells[number]


def _style(cell: Cell, number: int | None) -> str:
    return "bold" if number is None else "red" if cell.wrong else ""
