"""The settings of ONNX Runtime's fusions: optimum's levels, and the family and sizes of a model.

Levels are written out rather than read from optimum, because optimum-onnx and transformers 5 exclude each other and
the fusions need neither; a test compares them with optimum-onnx 0.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.fusions import FUSIONS, Fusion, Size


class Level(Struct, frozen=True, kw_only=True):
    """One of O1 to O4: ONNX Runtime's own level, and the steps after it."""

    runtime: int = 2
    fuses: bool = True
    approximates_gelu: bool = False
    halves: bool = False


LEVELS: Mapping[str, Level] = {
    "O1": Level(runtime=1, fuses=False),
    "O2": Level(),
    "O3": Level(approximates_gelu=True),
    "O4": Level(approximates_gelu=True, halves=True),
}


class Sizes(Struct, frozen=True):
    """The kind of graph, the number of heads and the hidden size; with 0 a fusion reads the size from the graph."""

    family: str
    heads: int
    hidden: int


def sizes_of(config: Mapping[str, Any], level: str) -> Sizes:
    """The settings that the fusions need for a model. Errors: CheckFailed OBE22 for an unknown model type."""
    model_type = str(config.get("model_type") or "")
    fusion = FUSIONS.get(model_type)
    if fusion is None:
        subject = f"the model type `{model_type}`" if model_type else "a model without config.json"
        raise CheckFailed(
            "OBE22",
            f"{level} knows no fusions for {subject}",
            notes=[("hint", "use `optimize: O1`, which works for every model type, or leave `optimize:` out")],
        )
    part = _part(config, fusion)
    heads = _size(part, "num_attention_heads", fusion.heads)
    return Sizes(fusion.family, heads, _size(part, "hidden_size", fusion.hidden))


def _part(config: Mapping[str, Any], fusion: Fusion) -> Mapping[str, Any]:
    """The block of the config that holds the sizes; old configs of CLIP also have `text_config_dict`, which wins."""
    if not fusion.part:
        return config
    old = config.get(f"{fusion.part}_dict")
    return old if old is not None else config.get(fusion.part) or {}


def _size(config: Mapping[str, Any], standard: str, size: Size) -> int:
    """A size under the name that all configs accept, or else under the model type's own name."""
    value = config.get(standard, config.get(size.field, size.default))
    return value if isinstance(value, int) else 0


def fusion_options(family: str, level: Level) -> Any:
    """ONNX Runtime's switches for a kind of graph."""
    from onnxruntime.transformers.fusion_options import FusionOptions

    options = FusionOptions(family)
    options.enable_embed_layer_norm = False  # quantizers cannot handle the operator that it makes
    options.enable_gelu_approximation = level.approximates_gelu
    if family == "clip":
        options.enable_group_norm = False
        options.enable_packed_kv = False
    return options
