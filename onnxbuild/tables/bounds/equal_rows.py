"""How certain a share is that all rows have, or none: a bootstrap of equal rows gives its interval no width."""

from __future__ import annotations

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2  # what an interval leaves at either end


def exact_interval(value: float, rows: int) -> tuple[float, float]:
    """The exact interval (Clopper and Pearson) of a share of rows. `value`: 0 or 1."""
    end = TAIL ** (1 / rows)
    return (end, 1.0) if value == 1.0 else (0.0, 1 - end)
