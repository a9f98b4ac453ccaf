"""Results of benchmarks: measured values with their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Line:
    """One measured value. `bound` is None for a value that is only shown for comparison."""

    benchmark: str
    what: str
    measured: float
    unit: str
    bound: float | None = None
    because: str = ""  # where the bound comes from, or how the value was measured

    @property
    def verdict(self) -> str:
        """`pass` or `MISS`; empty without a bound."""
        if self.bound is None:
            return ""
        return "pass" if self.measured <= self.bound else "MISS"


def as_json(line: Line) -> dict[str, Any]:
    """A line for programs."""
    ratio = None if not line.bound else line.measured / line.bound
    return {**asdict(line), "ratio": ratio, "verdict": line.verdict}


def as_text(lines: Sequence[Line]) -> str:
    """All lines, aligned."""
    rows = [("benchmark", "what", "measured", "bound", "ratio", "", "")]
    for line in lines:
        bound = "" if line.bound is None else _number(line.bound, line.unit)
        ratio = f"{line.measured / line.bound:.2f}" if line.bound else ""
        measured = _number(line.measured, line.unit)
        rows.append((line.benchmark, line.what, measured, bound, ratio, line.verdict, line.because))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if column in {2, 3, 4} else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _number(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
    if unit == "MB":
        return f"{value:.1f} MB"
    return f"{value:g} {unit}".rstrip()
