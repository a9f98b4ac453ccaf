"""The relative error of each tensor: the RMS of the difference over the RMS of the first value, over all rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

# A larger value means "never" (masks add the lowest float): it says nothing about accuracy, and would drown the rest.
_MASKED = 1e30


class Differences:
    """Sums over rows, by tensor. A tensor whose shapes differ is left out."""

    def __init__(self) -> None:
        """Start without rows."""
        self._squares: dict[str, tuple[float, float]] = {}
        self._unlike: set[str] = set()

    def add(self, name: str, before: np.ndarray, after: np.ndarray) -> None:
        """Count the values of one row."""
        if before.shape != after.shape:
            self._unlike.add(name)
            return
        wanted, actual = before.astype(np.float64).ravel(), after.astype(np.float64).ravel()
        counts = np.abs(wanted) < _MASKED  # also False for NaN
        wanted, actual = wanted[counts], actual[counts]
        squares = np.sum(np.square(wanted - actual)), np.sum(np.square(wanted))
        difference, size = self._squares.get(name, (0.0, 0.0))
        self._squares[name] = (difference + float(squares[0]), size + float(squares[1]))

    def errors(self) -> dict[str, float]:
        """The relative error of each tensor; infinite if the second value is not finite, or the first one is zero."""
        return {name: relative(*sums) for name, sums in self._squares.items() if name not in self._unlike}


def relative(difference: float, size: float) -> float:
    """The root of the ratio of two sums of squares."""
    if difference == 0:
        return 0.0
    return math.sqrt(difference / size) if math.isfinite(difference) and size > 0 else math.inf


def groups(sizes: Mapping[str, int], budget: int) -> Iterator[Sequence[str]]:
    """The names in order, in groups of at most `budget` together; a larger one is alone."""
    group: list[str] = []
    used = 0
    for name, size in sizes.items():
        if group and used + size > budget:
            yield group
            group, used = [], 0
        group.append(name)
        used += size
    if group:
        yield group
