"""quantize_config.json: how the graphs of a package were quantized, with the keys that the library's scripts wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Recipe = Sequence[tuple[str, Mapping[str, Any]]]  # kind and params of each step that made a target


def quantize_config(recipes: Mapping[str, Recipe]) -> dict[str, Any]:
    """The content of the file: the modes, what the integer and the 4-bit ones have in common, and each recipe."""
    quantized = {dtype: params for dtype, steps in recipes.items() for kind, params in steps if kind == "quantize"}
    integers = [params for params in quantized.values() if params.get("method") in {"dynamic", "static"}]
    blocks = [params for params in quantized.values() if params.get("method") == "weight-only"]
    return {
        "modes": list(recipes),
        "per_channel": _shared(integers, "per_channel"),
        "reduce_range": None,
        "block_size": _shared(blocks, "block_size"),
        "is_symmetric": _shared(blocks, "symmetric"),
        "accuracy_level": _shared(blocks, "accuracy_level"),
        "quant_type": _shared(blocks, "algorithm"),
        "op_block_list": None,
        "recipes": {dtype: [{kind: dict(params)} for kind, params in steps] for dtype, steps in recipes.items()},
    }


def _shared(blocks: Sequence[Mapping[str, Any]], field: str) -> Any:
    """The value that all have; None where they differ or there is none."""
    values = [block.get(field) for block in blocks]
    return values[0] if values and all(value == values[0] for value in values) else None
