"""How certain a metric over rows is: its bootstrap interval, and whether that decides a bound."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from onnxbuild.tables.bounds.equal_rows import LEVEL, exact_interval
from onnxbuild.workers.validate.by_task.measured import Measured, Statistic

Interval = tuple[float, float]

_RESAMPLES = 1999


class Undecided(Struct, frozen=True, kw_only=True):
    """A bound inside of an interval. `rows_needed`: rows with which the interval would end at the bound, or None."""

    metric: str
    value: float
    bound: float
    interval: Interval
    rows: int
    unit: str
    rows_needed: int | None

    @property
    def message(self) -> str:
        """What is said of it."""
        low, high = self.interval
        more = f"; about {self.rows_needed} {self.unit} would decide it" if self.rows_needed else ""
        shown = f"`{self.metric}` is {self.value:.4g}, and {LEVEL:.0%} of such {self.unit} give {low:.4g} to {high:.4g}"
        return f"{shown}: {self.rows} {self.unit} do not decide the bound {self.bound:g}{more}"


def interval_of(measured: Measured, *, seed: int, absolute: bool = False) -> Interval | None:
    """The interval of a value, paired by row. None for fewer than two rows.

    Where both sides are compared with labels, it is the reference's value and the interval of the difference; with
    `absolute` it is that of the variant by itself. Equal rows say little of others: a share is then bounded exactly
    (Clopper and Pearson), as a bootstrap of equal rows has no width.
    """
    parts, statistic, origin = measured.parts, measured.statistic, measured.reference or 0.0
    if absolute and measured.own_statistic is not None:
        parts, statistic, origin = measured.own, measured.own_statistic, 0.0
    if statistic is None or measured.rows < 2:  # noqa: PLR2004 - one row has no spread
        return None
    if all(np.ptp(part) == 0 for part in parts):
        return exact_interval(measured.value, measured.rows) if measured.is_share else (measured.value, measured.value)
    low, high = _bootstrapped(parts, statistic, seed)
    return origin + low, origin + high


def undecided(measured: Measured, bound: float, interval: Interval | None) -> Undecided | None:
    """What is to be said of a bound that lies inside of the interval; None where the rows decide it."""
    if interval is None or not interval[0] < bound < interval[1]:
        return None
    distance = abs(measured.value - bound)
    reach = abs(interval[0 if bound < measured.value else 1] - measured.value)
    # An interval narrows with the root of the rows; the exact one of equal rows narrows with their number.
    power = 1 if measured.is_share and np.ptp(measured.parts[0]) == 0 else 2
    needed = math.ceil(measured.rows * (reach / distance) ** power) if distance else None
    return Undecided(
        metric=measured.metric,
        value=measured.value,
        bound=bound,
        interval=interval,
        rows=measured.rows,
        unit=measured.unit,
        rows_needed=needed,
    )


def _bootstrapped(parts: Sequence[np.ndarray], statistic: Statistic, seed: int) -> Interval:
    """BCa, which corrects for bias and skew; where it is undefined, because resamples agree, the point itself."""
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DegenerateDataWarning: handled below
        found = stats.bootstrap(
            parts,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=_RESAMPLES,
            confidence_level=LEVEL,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    low, high = float(found.confidence_interval.low), float(found.confidence_interval.high)
    if math.isnan(low) or math.isnan(high):
        low, high = (float(end) for end in np.quantile(found.bootstrap_distribution, _TAILS))
    return low, high


_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
