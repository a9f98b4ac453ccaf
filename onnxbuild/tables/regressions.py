"""What may be bounded between two builds: the figures of a variant, and which way each is better."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from onnxbuild.tables import choices
from onnxbuild.tables.choices import THROUGHPUT, Better
from onnxbuild.tables.thresholds import METRICS

ACCURACY = "accuracy"
_SPEED: Mapping[str, Better] = {
    "latency.p50": "less",
    "latency.p90": "less",
    "latency.p99": "less",
    "latency.mean": "less",
    "speedup": "more",
    THROUGHPUT: "more",
    "tokens_per_second": "more",
    "first_token": "less",
}

# Every figure that two builds are compared by.
FIGURES: Mapping[str, Better] = {
    "size": "less",
    ACCURACY: "more",
    **{name: choices.better(name) for name in METRICS},
    **_SPEED,
}

_OWN_MEANINGS: Mapping[str, str] = {
    "size": "graphs and weights, in bytes",
    THROUGHPUT: "texts per second in the fastest setting",
    **{f"latency.{name}": f"{name} of the latency, in milliseconds" for name in ("p50", "p90", "p99", "mean")},
}
MEANINGS: Mapping[str, str] = {name: _OWN_MEANINGS.get(name) or choices.MEANINGS[name] for name in FIGURES}

_BOUND = re.compile(r"([+-])(\d+(?:\.\d+)?)(%?)")


class Allowance(Struct, frozen=True):
    """By how much a figure may become worse: a share of the earlier value, or an amount in the figure's unit.

    `way`: 1 if the figure may grow, -1 if it may shrink.
    """

    text: str
    way: int
    amount: float
    is_share: bool

    def limit(self, before: float) -> float:
        """The worst value that is allowed."""
        return before + self.way * self.amount * (abs(before) if self.is_share else 1.0)


def allowance(text: str) -> Allowance | None:
    """`+5%`, `-0.5%` or `+0.01` as a value; None if the text is not a bound of this form."""
    match = _BOUND.fullmatch(text.strip())
    if match is None:
        return None
    is_share = bool(match[3])
    return Allowance(text.strip(), 1 if match[1] == "+" else -1, float(match[2]) / (100 if is_share else 1), is_share)


def worse_way(figure: str) -> int:
    """1 if a larger value is worse, -1 if a smaller one is."""
    return 1 if FIGURES[figure] == "less" else -1
