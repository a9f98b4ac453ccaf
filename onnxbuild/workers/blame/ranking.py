"""The nodes of a graph that cost most accuracy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct, structs

from onnxbuild.workers.blame.correspondence import Correspondence
from onnxbuild.workers.blame.measured_nodes import Errors

MOST = 10

_LARGEST = 1e300  # stands for infinity, which JSON does not have


class Costly(Struct, frozen=True, kw_only=True):
    """A node that was changed, with the largest relative error of its inputs, and that of its output.

    `added` is the RMS of what the change adds to its output, given the same inputs. It is not relative: a residual
    stream takes up all sums in one unit. Measured with MiniLM int8 (mean cosine 0.9935), ten nodes taken back give
    0.9984 in this order, 0.9965 by the relative value, and 0.9954 by the growth of the error from input to output.
    """

    name: str
    operator: str
    error_before: float
    error_after: float
    added: float
    named: bool  # a manifest can name it
    quantized: bool


def ranked(between: Correspondence, errors: Errors) -> list[Costly]:
    """The changed nodes that add an error, the largest first. Where a step quantizes, only what it quantized counts."""
    nodes = [_costly(between, errors, tensor) for tensor in between.changed if tensor in errors.added]
    costly = [one for one in nodes if one.added > 0]
    quantized = [one for one in costly if one.quantized]
    return sorted(quantized or costly, key=lambda one: one.added, reverse=True)


def _costly(between: Correspondence, errors: Errors, tensor: str) -> Costly:
    node = between.changed[tensor]
    before = (errors.relative[name] for name in between.inputs_of(tensor) if name in errors.relative)
    return Costly(
        name=node.name or tensor,
        operator=node.op_type,
        error_before=max(before, default=0.0),
        error_after=errors.relative[tensor],
        added=errors.added[tensor],
        named=bool(node.name),
        quantized=between.is_quantized(tensor),
    )


def as_facts(nodes: Iterable[Costly]) -> list[dict[str, Any]]:
    """The nodes as plain values of JSON."""
    return [msgspec.to_builtins(structs.replace(one, **_finite(one))) for one in nodes]


def _finite(one: Costly) -> dict[str, float]:
    return {name: min(getattr(one, name), _LARGEST) for name in ("error_before", "error_after", "added")}
