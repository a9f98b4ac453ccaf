"""How far two tensors are apart: over all rows, relative to the first one and in its own unit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

# A larger value means "never" (masks add the lowest float): it says nothing about accuracy, and would drown the rest.
_MASKED = 1e30


class Differences:
    """Sums over rows, by tensor."""

    def __init__(self) -> None:
        """Start without rows."""
        self._sums: dict[str, tuple[float, float, int]] = {}

    def add(self, name: str, before: np.ndarray, after: np.ndarray) -> None:
        """Count the values of one row."""
        counts = np.abs(before.astype(np.float64)) < _MASKED  # also False for NaN
        wanted: np.ndarray = before[counts].astype(np.float64)
        actual: np.ndarray = after[counts].astype(np.float64)
        difference, size, count = self._sums.get(name, (0.0, 0.0, 0))
        with np.errstate(over="ignore", invalid="ignore"):
            squares = float(np.sum(np.square(wanted - actual)))
        self._sums[name] = (difference + squares, size + float(np.sum(np.square(wanted))), count + wanted.size)

    def relative(self) -> dict[str, float]:
        """The RMS of the difference over the RMS of the first tensor, by tensor."""
        return {name: root(difference, size) for name, (difference, size, _) in self._sums.items()}

    def absolute(self) -> dict[str, float]:
        """The RMS of the difference, by tensor."""
        return {name: root(difference, count) for name, (difference, _, count) in self._sums.items()}


def root(difference: float, size: float) -> float:
    """The root of a ratio; infinite if a value is not finite, or differs from a tensor of zeros."""
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
