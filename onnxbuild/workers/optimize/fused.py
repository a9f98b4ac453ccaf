"""Fused operators: which there are, and which a family must show after O2."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.graphs.onnx_files import nodes_of

# Operators that only a fusion makes; plain LayerNormalization and Gelu are exported as such from opset 17 and 20.
FUSED: tuple[str, ...] = (
    "Attention", "MultiHeadAttention", "DecoderMaskedMultiHeadAttention", "GroupQueryAttention", "RotaryEmbedding",
    "EmbedLayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization",
    "SkipSimplifiedLayerNormalization", "RMSNormalization", "BiasGelu", "FastGelu", "QuickGelu", "GemmFastGelu",
    "FusedMatMul", "FusedGemm", "FusedConv",
)  # fmt: skip

# What O2 (onnxruntime 1.31) made of every file of a random model of the type, exported by optimum-onnx 0.1.0 at opset
# 18; one of the operators must be there in every file. Which ones depends on more than the family: a plain attention
# mask gives Attention in BERT, and none in MPNet with its position bias. Graphs of transformers 5's exporter show the
# same, but for attention, which does not fuse in any of them and is warned of.
_NORM = ("SkipLayerNormalization", "EmbedLayerNormalization")
_RMS = ("SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization")

EXPECTED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("bert", "distilbert", "roberta", "xlm-roberta", "camembert", "electra"), ("Attention", *_NORM)),
    **dict.fromkeys(("albert", "mpnet", "modernbert", "deberta-v2", "vit"), ("Attention", *_NORM)),
    **dict.fromkeys(("gpt2", "gpt_neo", "gptj", "gpt_neox", "bloom"), _NORM),
    **dict.fromkeys(("bart", "mbart", "marian", "whisper"), _NORM),
    **dict.fromkeys(("t5", "mt5", "longt5", "llama", "mistral"), _RMS),
}


# Of those, the types whose attention becomes one operator, each measured; GPT-2's by our own rewrite (`attention.py`).
_ATTENTION = ("Attention", "MultiHeadAttention", "GroupQueryAttention", "DecoderMaskedMultiHeadAttention")
ATTENTION_FUSES: frozenset[str] = frozenset(
    {"bert", "distilbert", "roberta", "xlm-roberta", "camembert", "electra", "gpt2"}
)


def warnings_of(model_type: str, level: str, by_file: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What fuses in the model's family and did not here, file by file."""
    expected = EXPECTED.get(model_type)
    if level == "O1" or expected is None:
        return []
    wanted = {"LayerNorm": tuple(operator for operator in expected if operator not in _ATTENTION)}
    if model_type in ATTENTION_FUSES:
        wanted["attention"] = _ATTENTION
    return [
        f"{what} did not fuse in {name}: none of {', '.join(operators)}, which {model_type} has after {level}"
        for name, counts in by_file.items()
        for what, operators in wanted.items()
        if not any(operator in counts for operator in operators)
    ]


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
