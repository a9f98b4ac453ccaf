"""The figures of a variant that two builds are compared by, with the intervals of what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from msgspec import Struct

from onnxbuild.report.evidence.evidence import Measurement, Throughput, VariantEvidence
from onnxbuild.report.wording import counted
from onnxbuild.tables.choices import THROUGHPUT
from onnxbuild.tables.regressions import ACCURACY, FIGURES

TEXTS_PER_SECOND = "texts_per_second"  # of one setting of `throughput:`; bounds are on the fastest one

# The standard error of a median is that of a mean times the root of half of pi, for samples of a normal distribution
# (Kenney and Keeping, "Mathematics of Statistics", part 2); 1.96 of them cover 95 %.
_MEDIAN_95 = 1.96 * math.sqrt(math.pi / 2)


class Figure(Struct, frozen=True):
    """A value with the ends of its 95 % interval; a value that is exact has an interval of no width."""

    value: float
    low: float
    high: float

    @property
    def is_exact(self) -> bool:
        """Whether repeating it would give the same number."""
        return self.low == self.high


def is_of_a_machine(figure: str) -> bool:
    """Whether a figure says nothing beside that of another machine, as a ratio to a baseline or an accuracy does."""
    return figure.startswith("latency.") or figure in {
        "first_token", "tokens_per_second", THROUGHPUT, TEXTS_PER_SECOND,
    }  # fmt: skip


def figures(variant: VariantEvidence) -> Iterator[tuple[tuple[str, str], Figure]]:
    """Each figure under its name and its configuration."""
    row = variant.row
    if row.size_bytes is not None:
        yield ("size", ""), exact(row.size_bytes)
    for check in variant.checks:
        if check.metric in FIGURES or check.metric == ACCURACY:
            yield (check.metric, ""), Figure(check.value, *(check.interval or (check.value, check.value)))
    own = [one for one in variant.measurements if one.own]
    for number, one in enumerate(own):
        where = "" if number == 0 else one.fed
        yield from ((key, figure) for key, figure in _latencies(one, where))
    yield from _rates([one for one in variant.throughputs if one.own])
    for name, value in (("tokens_per_second", row.tokens_per_second), ("first_token", row.first_token_ms)):
        if value is not None:
            yield (name, ""), Figure(value, value * _LEAST_OF_ONE, value / _LEAST_OF_ONE)


_LEAST_OF_ONE = 0.95  # generation keeps no spread between runs of one prompt: 5 % is what neighbours alone change


def _latencies(one: Measurement, where: str) -> Iterator[tuple[tuple[str, str], Figure]]:
    error = _MEDIAN_95 * one.stdev_ms / math.sqrt(max(1, one.calls))
    values = {"p50": one.p50_ms, "p90": one.p90_ms, "p99": one.p99_ms, "mean": one.mean_ms}
    for name, value in values.items():
        yield (f"latency.{name}", where), Figure(value, value - error, value + error)
    if one.ratios:
        ratio = one.ratios[0]
        yield ("speedup", where), Figure(ratio.median, ratio.least, ratio.most)


def _rates(measured: Sequence[Throughput]) -> Iterator[tuple[tuple[str, str], Figure]]:
    """The fastest setting of each set of texts, and every setting by itself. Their range is that of the passes."""
    sets = list(dict.fromkeys(one.longer_than for one in measured))
    for number, longer in enumerate(sets):
        fastest = max((one for one in measured if one.longer_than == longer), key=lambda one: one.texts_per_second)
        yield (THROUGHPUT, f"over {longer} characters" if number else ""), _rate(fastest)
    for one in measured:
        where = f"{one.fed}, {counted(one.workers, 'worker')}, {counted(one.threads, 'thread')}"
        yield (TEXTS_PER_SECOND, where), _rate(one)


def _rate(one: Throughput) -> Figure:
    return Figure(one.texts_per_second, one.least_per_second, one.most_per_second)


def exact(value: float) -> Figure:
    """A figure that repeating would not change."""
    return Figure(float(value), float(value), float(value))
