"""Fused operators: which there are, and which a family must show after O2."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto

from onnxbuild.steps.kind import CheckFailed
from onnxbuild.workers.graph import nodes_of

# Operators that only a fusion makes; plain LayerNormalization and Gelu are exported as such from opset 17 and 20.
FUSED: tuple[str, ...] = (
    "Attention", "MultiHeadAttention", "DecoderMaskedMultiHeadAttention", "GroupQueryAttention", "RotaryEmbedding",
    "EmbedLayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization",
    "SkipSimplifiedLayerNormalization", "RMSNormalization", "BiasGelu", "FastGelu", "QuickGelu", "GemmFastGelu",
    "FusedMatMul", "FusedGemm", "FusedConv",
)  # fmt: skip

_ENCODER = ("Attention", "MultiHeadAttention", "SkipLayerNormalization", "EmbedLayerNormalization", "BiasGelu")
_DECODER = ("SkipLayerNormalization", "FastGelu", "BiasGelu", "Attention")
_RMS = ("SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "RMSNormalization")

# What O2 and up makes of a family, measured on its exported graph; one of these must be there in every file.
EXPECTED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("bert", "distilbert", "roberta", "xlm-roberta", "camembert", "electra", "mpnet"), _ENCODER),
    **dict.fromkeys(("gpt2", "gpt_neo", "gptj"), _DECODER),
    **dict.fromkeys(("bart", "mbart", "marian", "whisper"), _ENCODER),
    **dict.fromkeys(("t5", "mt5", "longt5"), _RMS),
    "vit": _ENCODER,
}


def count_fused(model: ModelProto) -> dict[str, int]:
    """How many fused operators of each type a model has."""
    counts: dict[str, int] = {}
    for node in nodes_of(model):
        if node.op_type in FUSED and node.domain not in {"", "ai.onnx"}:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def check_fused(model_type: str, level: str, by_file: Mapping[str, Mapping[str, int]]) -> None:
    """Hold a result to what its family must show. Errors: CheckFailed OBE24."""
    expected = EXPECTED.get(model_type)
    if level == "O1" or expected is None:
        return
    for name, counts in by_file.items():
        if not any(operator in counts for operator in expected):
            found = ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "none"
            raise CheckFailed(
                "OBE24",
                f"{level} fused nothing that it should have in {name}",
                notes=[
                    ("expected", f"for {model_type} one of {', '.join(expected)}"),
                    ("found", found),
                    ("hint", "export with `attention: eager`, or use `optimize: O1`: this graph's form is not known"),
                ],
                facts={"fused": {file: dict(found) for file, found in by_file.items()}},
            )
