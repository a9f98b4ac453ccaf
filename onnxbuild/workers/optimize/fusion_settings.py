"""What ONNX Runtime's fusions are told: optimum's levels, a model's family and the sizes in its config.

Levels, and families in `FUSED_TYPES`, are spelled out rather than asked of optimum, because optimum-onnx and
transformers 5 exclude each other and the fusions need neither; a test holds both to optimum-onnx 0.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.optimize import FUSED_TYPES


class Level(Struct, frozen=True, kw_only=True):
    """One of O1 to O4: ONNX Runtime's own level, and what is done beyond it."""

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

# These keep the sizes of text in a config of its own.
_NESTED = frozenset({"clip", "pix2struct"})


class Sizes(Struct, frozen=True):
    """The kind of graph, the number of heads and the hidden size; 0 lets a fusion find it in the graph."""

    family: str
    heads: int
    hidden: int


def sizes_of(config: Mapping[str, Any], level: str) -> Sizes:
    """What the fusions need to know of a model. Errors: CheckFailed OBE22 for a type that they do not know."""
    from transformers import AutoConfig

    model_type = str(config.get("model_type") or "")
    try:
        loaded = AutoConfig.for_model(**{**config, "model_type": model_type})
        family = FUSED_TYPES[model_type]
        owner = loaded.text_config if model_type in _NESTED else loaded
        heads, hidden = owner.num_attention_heads, getattr(owner, "hidden_size", None) or owner.hidden_sizes
    except (KeyError, ValueError, AttributeError) as error:
        named = f"the model type `{model_type}`" if model_type else "a model without config.json"
        raise CheckFailed(
            "OBE22",
            f"{level} knows no fusions for {named}",
            notes=[("hint", "use `optimize: O1`, which needs to know nothing of the family, or none")],
        ) from error
    return Sizes(family, *(size if isinstance(size, int) else 0 for size in (heads, hidden)))


def fusion_options(family: str, level: Level) -> Any:
    """ONNX Runtime's switches for a kind of graph."""
    from onnxruntime.transformers.fusion_options import FusionOptions

    options = FusionOptions(family)
    options.enable_embed_layer_norm = False  # a quantizer cannot do anything with what it makes
    options.enable_gelu_approximation = level.approximates_gelu
    if family == "clip":
        options.enable_group_norm = options.enable_packed_kv = False
    return options
