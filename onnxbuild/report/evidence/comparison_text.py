"""A comparison of two builds for people: as aligned text, as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnxbuild.deliver.package_rows import PackageRow
from onnxbuild.protocol import json_text
from onnxbuild.report.evidence.compared_figures import TEXTS_PER_SECOND, Figure
from onnxbuild.report.evidence.comparison import Change, Comparison, PackageChange
from onnxbuild.report.evidence.figure_tables import Table, in_markdown, plain
from onnxbuild.report.result.figures import NONE, megabytes, milliseconds, rate, significant, times
from onnxbuild.report.result.package_table import check_in_words
from onnxbuild.report.result.result_table import drawn
from onnxbuild.report.result.table_layout import GAP, Cell, Column
from onnxbuild.report.wording import counted
from onnxbuild.tables.choices import THROUGHPUT

# Shown where nothing changed, too: a reader looks for them.
_ALWAYS = ("size", "accuracy", "speedup")
# Of a comparison without bounds; JSON has them. Of dozens of settings, some differ by chance.
_HIDDEN = ("latency.p99", "latency.mean", TEXTS_PER_SECOND)


def as_text(comparison: Comparison, width: int | None = None) -> str:
    """The changed figures as a table, what only one build has, and the bounds that are broken."""
    table = comparison_table(comparison)
    text = drawn(_columns(table, width), width) if table.rows else _nothing(comparison)
    return "\n\n".join([text, *_remarks(comparison)])


def _columns(table: Table, width: int | None) -> list[Column]:
    """The columns; where they continue below each other, variant and figure are one, which names every row again."""
    columns = [Column(head, tuple(row[number] for row in table.rows)) for number, head in enumerate(table.head)]
    if width is None or sum(column.width + len(GAP) for column in columns) - len(GAP) <= width:
        return columns
    names = tuple(Cell(f"{row[0].text} {row[1].text}") for row in table.rows)
    return [Column("variant and figure", names), *columns[2:]]


def as_markdown(comparison: Comparison) -> str:
    """The same for a comment on a pull request."""
    table = comparison_table(comparison)
    names = " → ".join(map(plain, (comparison.before, comparison.after)))
    text = in_markdown(table, first=2) if table.rows else f"{_nothing(comparison).capitalize()}."
    parts = [f"<!-- a report of onnxbuild -->\n### {names}", text, *map(plain, _remarks(comparison))]
    return "\n\n".join(parts) + "\n"


def _nothing(comparison: Comparison) -> str:
    return "no figure has changed" if comparison.in_common else "the two builds have no variant in common"


def as_json(comparison: Comparison) -> str:
    """All figures, also those that are equal."""
    return json_text(comparison, indent=2)


def comparison_table(comparison: Comparison) -> Table:
    """One row for each figure that changed, that a bound judges, or that readers look for."""
    shown = [change for change in comparison.changes if _is_shown(change)]
    head = ["variant", "figure", "before", "after", "change", "verdict"]
    rows = [_row(change) for change in shown]
    if any(change.allowed for change in shown):
        head.append("allowed")
        rows = [(*row, Cell(change.allowed or NONE)) for row, change in zip(rows, shown, strict=True)]
    return Table(tuple(head), tuple(rows))


def _is_shown(change: Change) -> bool:
    if change.allowed or change.figure in _ALWAYS:
        return True
    return change.verdict != "equal" and change.figure not in _HIDDEN


def _row(change: Change) -> tuple[Cell, ...]:
    relative = change.relative
    verdict = "BROKEN" if change.breach == "broken" else change.breach or change.verdict
    return (
        Cell(change.variant),
        Cell(_named(change)),
        Cell(_value(change.figure, change.before)),
        Cell(_value(change.figure, change.after)),
        Cell(NONE if relative is None else f"{relative:+.1%}"),
        Cell(verdict, wrong=change.breach == "broken"),
    )


def _named(change: Change) -> str:
    return f"{change.figure} ({change.where})" if change.where else change.figure


def _value(name: str, figure: Figure | None) -> str:
    if figure is None:
        return NONE
    if name == "size":
        return megabytes(int(figure.value))
    shown = _formatter(name)
    text = shown(figure.value)
    return text if figure.is_exact else f"{text} ({shown(figure.low)} to {shown(figure.high)})"


def _formatter(name: str) -> Callable[[float], str]:
    if name.startswith("latency.") or name == "first_token":
        return milliseconds
    return {"speedup": times, "tokens_per_second": rate, THROUGHPUT: rate}.get(name, significant)


def _remarks(comparison: Comparison) -> list[str]:
    remarks = [_listed("only before", comparison.gone), _listed("only after", comparison.new)]
    remarks += [_listed(f"not in the store, of {build}", names) for build, names in comparison.absent.items()]
    remarks += [_package(change) for change in comparison.packages]
    if comparison.machines_differ:
        remarks.append("the two builds were measured on different machines: only ratios to a baseline are comparable")
    broken = comparison.broken
    if broken:
        words = "; ".join(f"{change.variant} {_named(change)} beyond {change.allowed}" for change in broken)
        remarks.append(f"{len(broken)} regression{'s' * (len(broken) > 1)}: {words}")
    undecided = [change for change in comparison.changes if change.breach == "undecided"]
    if undecided:
        words = ", ".join(f"{change.variant} {_named(change)}" for change in undecided)
        remarks.append(f"not decided, because the interval crosses the bound: {words}")
    apart = [f"{change.variant} {_named(change)}" for change in comparison.changes if change.breach == "incomparable"]
    remarks.append(_listed("not judged, because another machine measured", apart))
    new = [
        f"{change.variant} {_named(change)}" for change in comparison.changes if change.allowed and not change.before
    ]
    remarks.append(_listed("not judged, because the earlier build does not have it", new))
    remarks.append(_listed("not judged, because neither build has it", comparison.unjudged))
    return [one for one in remarks if one]


def _package(change: PackageChange) -> str:
    return f"package {change.name}: {_state(change.before)} → {_state(change.after)}"


def _state(row: PackageRow | None) -> str:
    """`0.5 MB in 7 files, client check passed: optimum ORTModelForFeatureExtraction`."""
    if row is None:
        return "absent"
    return f"{megabytes(row.size_bytes)} in {counted(row.files or 0, 'file')}, client check {check_in_words(row)}"


def _listed(words: str, names: Sequence[str]) -> str:
    return f"{words}: {', '.join(names)}" if names else ""
