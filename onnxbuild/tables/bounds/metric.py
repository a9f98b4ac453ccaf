"""What a metric is: its meaning, and which values of it are worse."""

from __future__ import annotations

import math
from typing import Literal

from msgspec import Struct

Side = Literal["min", "max"]


class Metric(Struct, frozen=True):
    """What can be bounded. The side of the bound: "min" fails smaller values, "max" fails larger ones.

    `least`, `most`: the smallest and the largest value that the metric can have. `library`: the package that computes
    it, if it is not one that every worker has. `both_sides`: it compares with labels, so the reference has a value too.
    """

    side: Side
    meaning: str
    least: float = 0.0
    most: float = math.inf
    library: str = ""
    both_sides: bool = False
