"""The exporters of a model side by side: what each gave, which is most exact, and which is fastest."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from onnxbuild.protocol import json_text
from onnxbuild.report.result.figures import NONE, megabytes, milliseconds, significant

_HEADINGS = ("exporter", "version", "size", "worst difference", "latency", "verdict")
_GAP = "  "


class Compared(Struct, frozen=True, kw_only=True):
    """One exporter. `max_abs` is the largest difference from PyTorch; `because` why there is no result."""

    exporter: str
    version: str | None = None
    size_bytes: int | None = None
    max_abs: float | None = None
    latency_ms: float | None = None
    verdict: str
    because: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether the validation passed."""
        return self.verdict == "passed"


class Comparison(Struct, frozen=True, kw_only=True):
    """The rows, and the exporters that are best; None where none was validated, or none was measured."""

    model: str
    exporters: tuple[Compared, ...]
    most_exact: str | None = None
    fastest: str | None = None


def comparison(model: str, rows: Sequence[Compared]) -> Comparison:
    """Compare the rows; only exporters whose result is right take part."""
    right = [one for one in rows if one.is_right]
    exact = min((one for one in right if one.max_abs is not None), key=lambda one: one.max_abs or 0.0, default=None)
    timed = [one for one in right if one.latency_ms is not None]
    fastest = min(timed, key=lambda one: one.latency_ms or 0.0, default=None)
    return Comparison(
        model=model,
        exporters=tuple(rows),
        most_exact=exact.exporter if exact else None,
        fastest=fastest.exporter if fastest else None,
    )


def as_json(result: Comparison) -> str:
    """One JSON object, with numbers in the units of their names."""
    return json_text(result, indent=2)


def as_text(result: Comparison) -> str:
    """The table, the reason of each exporter without a result, and the two that are best."""
    lines = [*_table(result.exporters), ""]
    lines += [f"{one.exporter}: {one.because}" for one in result.exporters if one.because]
    return "\n".join([*lines, *_best(result)])


def _table(rows: Sequence[Compared]) -> list[str]:
    texts = [_HEADINGS, *map(_cells, rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(_HEADINGS))]
    return [_GAP.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in texts]


def _cells(row: Compared) -> tuple[str, ...]:
    difference = NONE if row.max_abs is None else significant(row.max_abs)
    figures = (megabytes(row.size_bytes), difference, milliseconds(row.latency_ms))
    return (row.exporter, row.version or NONE, *figures, row.verdict)


def _best(result: Comparison) -> list[str]:
    if result.most_exact is None:
        return ["no exporter gave a model that passed its validation"]
    if sum(one.is_right for one in result.exporters) == 1:
        return [f"only {result.most_exact} gave a model that passed its validation"]
    fastest = [f"runs fastest: {result.fastest}"] if result.fastest else []
    return [f"validates best: {result.most_exact}", *fastest]
