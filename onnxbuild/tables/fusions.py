"""What ONNX Runtime's optimizer fuses for each model type: the one table that lint, the worker and its checks read.

The types and families are those of optimum-onnx 0.1.0, and the config fields and defaults are those of transformers
4.57. Both are written out here because optimum-onnx excludes transformers 5, and because importing transformers takes
seconds. A test compares every row with both libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

# Operators that a fusion makes. LayerNormalization and Gelu are not among them, because most graphs are exported with
# them: they are standard from opsets 17 and 20 on. Those that are standard from opset 23 on count wherever they are.
FUSED_OPERATORS: tuple[str, ...] = (
    "Attention", "MultiHeadAttention", "DecoderMaskedMultiHeadAttention", "GroupQueryAttention", "RotaryEmbedding",
    "EmbedLayerNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization",
    "SkipSimplifiedLayerNormalization", "RMSNormalization", "BiasGelu", "FastGelu", "QuickGelu", "GemmFastGelu",
    "FusedMatMul", "FusedGemm", "FusedConv",
)  # fmt: skip

ATTENTION_OPERATORS = ("Attention", "MultiHeadAttention", "GroupQueryAttention", "DecoderMaskedMultiHeadAttention")

_NORM = ("SkipLayerNormalization", "EmbedLayerNormalization")
_RMS = ("SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization")
_ENCODER = ("Attention", *_NORM)


class Size(Struct, frozen=True):
    """A field of config.json under the model type's own name, and the value that transformers assumes without it.

    0 lets the fusion read the size from the graph.
    """

    field: str
    default: int = 0


class Fusion(Struct, frozen=True):
    """How one model type is optimized.

    `family` is ONNX Runtime's kind of graph. `expected` holds the operators of which at least one appears in every file
    after O2; it is empty if this was not measured. `attention` says whether attention becomes one operator: by a
    fusion of ONNX Runtime ("fused"), by our rewrite in `optimize/attention.py` ("rewritten"), or not at all.
    `part` names the block of config.json that holds the sizes of a model with several parts.
    """

    family: Literal["bert", "bart", "gpt2", "vit", "clip"]
    heads: Size
    hidden: Size
    expected: tuple[str, ...] = ()
    attention: Literal["", "fused", "rewritten"] = ""
    part: str = ""


# `expected` is what O2 of onnxruntime 1.31 made of every file of a random model of the type, exported by optimum-onnx
# 0.1.0 at opset 18. It depends on more than the family: a plain attention mask yields Attention in BERT, and none in
# MPNet with its position bias. Graphs of transformers 5's exporter give the same except for attention, which does not
# fuse in any of them; the step then warns.
FUSIONS: Mapping[str, Fusion] = {
    "albert": Fusion("bert", Size("num_attention_heads", 64), Size("hidden_size", 4096), _ENCODER),
    "bart": Fusion("bart", Size("encoder_attention_heads", 16), Size("d_model", 1024), _NORM),
    "bert": Fusion("bert", Size("num_attention_heads", 12), Size("hidden_size", 768), _ENCODER, "fused"),
    "big_bird": Fusion("bert", Size("num_attention_heads", 12), Size("hidden_size", 768)),
    "bigbird_pegasus": Fusion("bart", Size("encoder_attention_heads", 16), Size("d_model", 1024)),
    "blenderbot": Fusion("bert", Size("encoder_attention_heads", 32), Size("d_model", 2560)),
    "bloom": Fusion("gpt2", Size("n_head", 8), Size("hidden_size", 64), _NORM),
    "camembert": Fusion("bert", Size("num_attention_heads", 12), Size("hidden_size", 768), _ENCODER, "fused"),
    "clip": Fusion("clip", Size("num_attention_heads", 8), Size("hidden_size", 512), part="text_config"),
    "codegen": Fusion("gpt2", Size("n_head", 16), Size("n_embd", 4096)),
    "deberta": Fusion("bert", Size("num_attention_heads", 12), Size("hidden_size", 768)),
    "deberta-v2": Fusion("bert", Size("num_attention_heads", 24), Size("hidden_size", 1536), _ENCODER),
    "dinov2": Fusion("vit", Size("num_attention_heads", 12), Size("hidden_size", 768)),
    "distilbert": Fusion("bert", Size("n_heads", 12), Size("dim", 768), _ENCODER, "fused"),
    "electra": Fusion("bert", Size("num_attention_heads", 4), Size("hidden_size", 256), _ENCODER, "fused"),
    "gpt2": Fusion("gpt2", Size("n_head", 12), Size("n_embd", 768), _NORM, "rewritten"),
    "gpt_bigcode": Fusion("gpt2", Size("n_head", 12), Size("n_embd", 768)),
    "gpt_neo": Fusion("gpt2", Size("num_heads", 16), Size("hidden_size", 2048), _NORM),
    "gpt_neox": Fusion("gpt2", Size("num_attention_heads", 64), Size("hidden_size", 6144), _NORM),
    "gptj": Fusion("gpt2", Size("n_head", 16), Size("n_embd", 4096), _NORM),
    "granite": Fusion("gpt2", Size("num_attention_heads", 32), Size("hidden_size", 4096)),
    "llama": Fusion("gpt2", Size("num_attention_heads", 32), Size("hidden_size", 4096), _RMS),
    "longt5": Fusion("bert", Size("num_heads", 8), Size("d_model", 512), _RMS),
    "m2m_100": Fusion("bart", Size("encoder_attention_heads", 16), Size("d_model", 1024)),
    "marian": Fusion("bart", Size("encoder_attention_heads", 16), Size("d_model", 1024), _NORM),
    "mbart": Fusion("bart", Size("encoder_attention_heads", 16), Size("d_model", 1024), _NORM),
    "mistral": Fusion("gpt2", Size("num_attention_heads", 32), Size("hidden_size", 4096), _RMS),
    "modernbert": Fusion("bert", Size("num_attention_heads", 12), Size("hidden_size", 768), _ENCODER),
    "mpnet": Fusion("bert", Size("num_attention_heads", 12), Size("hidden_size", 768), _ENCODER),
    "mt5": Fusion("bart", Size("num_heads", 6), Size("d_model", 512), _RMS),
    "nystromformer": Fusion("bert", Size("num_attention_heads", 12), Size("hidden_size", 768)),
    "pegasus": Fusion("bert", Size("encoder_attention_heads", 16), Size("d_model", 1024)),
    "pix2struct": Fusion("vit", Size("num_heads", 12), Size("hidden_size", 768), part="text_config"),
    "roberta": Fusion("bert", Size("num_attention_heads", 12), Size("hidden_size", 768), _ENCODER, "fused"),
    "segformer": Fusion("vit", Size("num_attention_heads"), Size("hidden_sizes")),
    "t5": Fusion("bert", Size("num_heads", 8), Size("d_model", 512), _RMS),
    "vit": Fusion("vit", Size("num_attention_heads", 12), Size("hidden_size", 768), _ENCODER),
    "whisper": Fusion("bart", Size("encoder_attention_heads", 6), Size("d_model", 384), _NORM),
    "xlm-roberta": Fusion("bert", Size("num_attention_heads", 12), Size("hidden_size", 768), _ENCODER, "fused"),
}
