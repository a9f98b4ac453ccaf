"""Bounds that a search keeps, as a manifest writes them: `cosine_mean: ">= 0.999"`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import Struct, UnsetType

from onnxbuild.steps.kind import Fault

Metric = Literal["cosine_mean", "cosine_min", "top1", "kl_mean"]

# Which way each metric is bounded.
SIDES: Mapping[str, str] = {"cosine_mean": ">=", "cosine_min": ">=", "top1": ">=", "kl_mean": "<="}

_EXAMPLES: Mapping[str, str] = {">=": ">= 0.999", "<=": "<= 0.001"}
_BOUND = re.compile(r"(>=|<=)\s*(\d+(?:\.\d+)?(?:e-?\d+)?)")


class Bound(Struct, frozen=True):
    """One metric with the least or the greatest value that it may have; `text` as it was written."""

    metric: str
    text: str
    limit: float

    def holds(self, value: float) -> bool:
        """Whether a value keeps the bound."""
        return value >= self.limit if SIDES[self.metric] == ">=" else value <= self.limit


def bounds(subject_to: Mapping[Metric, str] | UnsetType) -> tuple[Bound, ...]:
    """The bounds of a checked block."""
    texts = {} if isinstance(subject_to, UnsetType) else subject_to
    matches = ((metric, text, _BOUND.fullmatch(text.strip())) for metric, text in texts.items())
    return tuple(Bound(metric, text, float(match[2])) for metric, text, match in matches if match is not None)


def check_bounds(subject_to: Mapping[Metric, str]) -> Iterator[Fault]:
    """OB667 for a bound that is none, or that points the wrong way."""
    for metric, text in subject_to.items():
        match = _BOUND.fullmatch(text.strip())
        if match is None or match[1] != SIDES[metric]:
            yield Fault(
                code="OB667",
                field="subject_to",
                message=f"`{metric}` expects a bound such as `{_EXAMPLES[SIDES[metric]]}`, found `{text}`",
            )
