"""By what a model's best variant can be chosen: the figures, and the conditions on them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from onnxbuild.tables.thresholds import METRICS

BEST = "best"  # the folder of the chosen variant, beside those of the targets

Better = Literal["less", "more"]

THROUGHPUT = "throughput"

# What a figure needs to be measured: a step kind, or a field of one, or None for what every variant has.
FIGURES: Mapping[str, str | None] = {
    "size_mb": None,
    **dict.fromkeys(("accuracy", *METRICS), "validate"),
    "latency.p50": "benchmark",
    "speedup": "benchmark",
    THROUGHPUT: "benchmark.throughput",
    "tokens_per_second": "generate",
    "first_token": "generate",
    "generation_speedup": "generate",
}

_OF_TUNE = frozenset({"latency.p99", "cpu_time"})  # figures of `tune:` alone
_LESS = frozenset({"size_mb", "latency.p50", "first_token"}) | _OF_TUNE


def better(figure: str) -> Better:
    """Which way a figure is better."""
    if figure in METRICS:
        return "more" if METRICS[figure].side == "min" else "less"
    return "less" if figure in _LESS else "more"


MEANINGS: Mapping[str, str] = {
    "size_mb": "graphs and weights, in millions of bytes",
    "accuracy": "share of right labels, on a dataset with labels",
    **{name: metric.meaning for name, metric in METRICS.items()},
    "latency.p50": "median latency of the first configuration, in milliseconds",
    "speedup": "latency of the first baseline divided by that of the variant",
    THROUGHPUT: "texts per second in the fastest setting, of the first set of texts",
    "tokens_per_second": "tokens per second of generated text",
    "first_token": "milliseconds until the first token of generated text",
    "generation_speedup": "tokens per second divided by those of PyTorch",
}

# The smallest and the largest value; all others are from 0 to infinity.
_RANGES = {"accuracy": (0.0, 1.0), **{name: (metric.least, metric.most) for name, metric in METRICS.items()}}

_CONDITION = re.compile(r"(>=|<=|>|<)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")


def plain_number(value: float) -> str:
    """`0.99`, `50`, `1e-05`: a number with all of its digits, and no `.0`."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value).removesuffix(".0")


class Condition(Struct, frozen=True):
    """A condition on a figure, such as `>= 0.99`."""

    figure: str
    operator: Literal[">=", "<=", ">", "<"]
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a value fulfils it; NaN fulfils none."""
        if self.operator in {">=", "<="} and value == self.bound:
            return True
        return value > self.bound if self.operator.startswith(">") else value < self.bound

    @property
    def can_hold(self) -> bool:
        """Whether any value of the figure fulfils it."""
        least, most = _RANGES.get(self.figure, (0.0, math.inf))
        return self.holds(most if self.operator.startswith(">") else least)

    def __str__(self) -> str:
        """As a person writes it."""
        return f"{self.figure} {self.operator} {plain_number(self.bound)}"

    def beside(self, value: float) -> str:
        """A value with as many digits, at least four, as show whether it fulfils the condition."""
        texts = (f"{value:.{digits}g}" for digits in range(4, 18))
        return next((text for text in texts if self.holds(float(text)) == self.holds(value)), repr(value))


class Choice(Struct, frozen=True):
    """The choice of a model's best variant: the smallest (or largest) figure among those that fulfil all conditions."""

    model: str
    figure: str
    largest: bool
    conditions: tuple[Condition, ...]
    targets: tuple[str, ...]


def bound_hint(figure: str, text: str) -> str | None:
    """`write ">= 0.98"` for a number that was written as a bound; None if it is not a number, or the figure unknown."""
    known = figure in FIGURES or figure in METRICS or figure in _OF_TUNE
    if not known or _CONDITION.fullmatch(f"> {text.strip()}") is None:
        return None
    return f'write `"{">=" if better(figure) == "more" else "<="} {text.strip()}"`'


def condition(figure: str, text: str) -> Condition | None:
    """`>= 0.99` as a value; None if the text is not a condition of this form."""
    match = _CONDITION.fullmatch(text.strip())
    return None if match is None else Condition(figure, match[1], float(match[2]))  # type: ignore[arg-type]
