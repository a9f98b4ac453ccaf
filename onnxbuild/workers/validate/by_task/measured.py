"""A metric over rows: its value, and what its interval is computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

Array = np.ndarray
Statistic = Callable[..., Array]


class Measured(Struct, frozen=True, kw_only=True):
    """A metric of the variant; `reference` is the same of the reference, where both sides are compared with labels.

    `parts` have one number per row. `statistic(*parts, axis=-1)` is the value, or with `reference` the difference from
    it, and then `own_statistic(*own)` is the value. Without a statistic, as for the worst row, there is no interval.
    """

    metric: str
    value: float
    unit: str  # what one row is: "rows", "pairs", "queries"
    parts: Sequence[Array]
    statistic: Statistic | None
    reference: float | None = None
    own: Sequence[Array] = ()
    own_statistic: Statistic | None = None
    is_share: bool = False  # each part is 0 or 1

    @property
    def rows(self) -> int:
        """How many rows it was measured on."""
        return len(self.parts[0])


def mean(values: Array, axis: int = -1) -> Array:
    """The mean along an axis."""
    return np.mean(values, axis=axis)  # type: ignore[no-any-return]


def ratio(above: Array, below: Array, axis: int = -1) -> Array:
    """The sum of the first over the sum of the second; 1 where both are 0, as two empty sets are equal."""
    top, bottom = above.sum(axis=axis), below.sum(axis=axis)
    return np.where(bottom == 0, 1.0, top / np.where(bottom == 0, 1.0, bottom))  # type: ignore[no-any-return]


def mean_of(metric: str, values: Sequence[float] | Array, unit: str = "rows", *, is_share: bool = False) -> Measured:
    """The mean over rows of one number each."""
    part = np.asarray(values, np.float64)
    return Measured(
        metric=metric, value=float(part.mean()), unit=unit, parts=(part,), statistic=mean, is_share=is_share
    )


def both_sides(metric: str, variant: Sequence[float] | Array, reference: Sequence[float] | Array) -> Measured:
    """The mean over rows of what the variant reaches against labels, beside that of the reference."""
    actual, wanted = np.asarray(variant, np.float64), np.asarray(reference, np.float64)
    return Measured(
        metric=metric,
        value=float(actual.mean()),
        unit="rows",
        parts=(actual, wanted),
        statistic=lambda one, other, axis=-1: mean(one, axis) - mean(other, axis),
        reference=float(wanted.mean()),
        own=(actual,),
        own_statistic=mean,
    )


def ranks_of(metric: str, reference: Array, variant: Array, unit: str) -> Measured | None:
    """Spearman's rank correlation of two series; None where one of them is constant."""
    from scipy import stats

    if len(reference) < 3 or np.ptp(reference) == 0 or np.ptp(variant) == 0:  # noqa: PLR2004 - two always correlate
        return None
    value = float(stats.spearmanr(reference, variant).statistic)
    return Measured(metric=metric, value=value, unit=unit, parts=(reference, variant), statistic=spearman)


def spearman(one: Array, other: Array, axis: int = -1) -> Array:
    """Pearson's correlation of the ranks along an axis, 1 where a resample is constant on both sides."""
    from scipy import stats

    ranks = [stats.rankdata(part, axis=axis) for part in (one, other)]
    centred = [part - part.mean(axis=axis, keepdims=True) for part in ranks]
    lengths = [np.sqrt((part**2).sum(axis=axis)) for part in centred]
    product = lengths[0] * lengths[1]
    cosine = (centred[0] * centred[1]).sum(axis=axis) / np.where(product == 0, 1.0, product)
    return np.where(product == 0, 1.0, cosine)  # type: ignore[no-any-return]
