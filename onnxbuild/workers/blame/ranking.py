"""The nodes of a graph whose error grows most."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.workers.blame.correspondence import Correspondence

MOST = 10

# Below this relative error a tensor counts as right: between the noise of fp32 (1e-6) and 8 bits (1e-2).
_NOISE = 1e-4


class Grown(Struct, frozen=True, kw_only=True):
    """A node that was changed, with the error of its output and the largest error of its inputs."""

    name: str
    operator: str
    error_before: float
    error_after: float
    growth: float
    quantized: bool


def grown(between: Correspondence, errors: Mapping[str, float]) -> list[Grown]:
    """The changed nodes whose error grows, those that add most first."""
    nodes = [_grown(between, errors, tensor) for tensor in between.changed if tensor in errors]
    return sorted((one for one in nodes if one.growth > 1), key=_added, reverse=True)


def _grown(between: Correspondence, errors: Mapping[str, float], tensor: str) -> Grown:
    node = between.changed[tensor]
    before = max((errors[name] for name in between.inputs_of(tensor) if name in errors), default=0.0)
    return Grown(
        name=node.name or tensor,
        operator=node.op_type,
        error_before=before,
        error_after=errors[tensor],
        growth=_growth(before, errors[tensor]),
        quantized=bool(node.name) and between.is_quantized(tensor),
    )


def _growth(before: float, after: float) -> float:
    """How many times the error grows; one below the noise of floats counts as that noise."""
    return max(after, _NOISE) / max(before, _NOISE) if math.isfinite(before) else 1.0


def _added(one: Grown) -> float:
    """What a node adds: errors of independent causes add up as squares do."""
    if not math.isfinite(one.error_before):
        return 0.0
    return math.sqrt(max(0.0, one.error_after**2 - one.error_before**2))


def as_facts(nodes: Iterable[Grown]) -> list[dict[str, Any]]:
    """The ten that grow most, as plain values; an infinite error is the largest float."""
    return [
        {
            "name": one.name,
            "operator": one.operator,
            "error_before": _finite(one.error_before),
            "error_after": _finite(one.error_after),
            "growth": _finite(one.growth),
        }
        for one in list(nodes)[:MOST]
    ]


def _finite(value: float) -> float:
    """JSON has no infinity."""
    largest = 1e300
    return value if math.isfinite(value) else largest
