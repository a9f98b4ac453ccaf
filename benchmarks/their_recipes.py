"""The recipes of Transformers.js's own conversion scripts, as they were until January 2026, applied to an export.

They are those of `scripts/quantize.py` in the last version before its removal: `onnxslim` on each graph, then the
quantizers of ONNX Runtime with these settings. Decoders are changed in parts and merged afterwards, because ONNX
Runtime's converter to fp16 makes an invalid graph of a merged one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx

DTYPES = ("fp16", "q8", "int8", "uint8", "q4", "q4f16", "bnb4")
SLIM_VERSION = "0.1.52"

# Model types whose weights get one scale per tensor in 8 bits; all others get one per channel, in 7 bits.
_PER_TENSOR = frozenset({
    "codegen", "gpt2", "gpt_bigcode", "gptj", "gpt-neo", "gpt-neox", "mpt", "bloom", "llama", "gemma", "opt", "mistral",
    "falcon", "phi", "phi3", "qwen2", "stablelm", "starcoder2", "openelm", "mobilellm", "olmo", "whisper",
    "vision-encoder-decoder", "owlv2", "wavlm", "wav2vec2", "unispeech", "unispeech-sat",
})  # fmt: skip
# With one of these, weights in 8 bits are unsigned.
_UNSIGNED_OPERATORS = frozenset({"Conv", "GroupQueryAttention", "MultiHeadAttention"})
_FLOAT_OPERATORS = (
    "ArrayFeatureExtractor", "Binarizer", "CastMap", "CategoryMapper", "DictVectorizer", "FeatureVectorizer", "Imputer",
    "LabelEncoder", "LinearClassifier", "LinearRegressor", "Normalizer", "OneHotEncoder", "RandomUniformLike",
    "SVMClassifier", "SVMRegressor", "Scaler", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "ZipMap",
    "NonMaxSuppression", "TopK", "RoiAlign", "Resize", "CumSum", "Min", "Max", "Upsample", "RandomNormalLike", "Cast",
)  # fmt: skip
_LEAST, _MOST = 1e-7, 1e4  # magnitudes in fp16


def write_theirs(export: Path, destination: Path, dtype: str, model_type: str) -> Path:
    """Convert an exported folder to a dtype as the library's script does, unless that was done before."""
    from onnxbuild.workers.folders.model_files import carry_along
    from onnxbuild.workers.folders.model_graphs import data_below
    from onnxbuild.workers.libraries.quiet import quiet
    from onnxbuild.workers.model_folder.decoders import graphs_to_change, merge, merged_name

    if (destination / "done").exists():
        return destination
    shutil.rmtree(destination, ignore_errors=True)
    destination.mkdir(parents=True)
    with quiet():
        for name in graphs_to_change(export):
            onnx.save(_changed(slimmed(export / name), dtype, model_type), destination / name)
        if (merged := merged_name(export)) is not None:
            merge(destination, merged)
    carry_along(export, destination, besides=data_below(export))
    (destination / "done").touch()
    return destination


def slimmed(path: Path) -> onnx.ModelProto:
    """The graph after onnxslim, or as it is where onnxslim damages it, as the scripts did."""
    import onnxslim

    model = onnx.load(path)
    try:
        slim = onnxslim.slim(model)
        onnx.checker.check_model(slim)
    except Exception:  # noqa: BLE001 - the scripts printed it and went on
        return onnx.load(path)
    return slim


def _changed(model: onnx.ModelProto, dtype: str, model_type: str) -> onnx.ModelProto:
    per_channel = model_type not in _PER_TENSOR
    changes: Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
        "fp16": _half,
        "q8": lambda one: _integers(one, signed=not _wants_unsigned(one), per_channel=per_channel),
        "int8": lambda one: _integers(one, signed=True, per_channel=per_channel),
        "uint8": lambda one: _integers(one, signed=False, per_channel=per_channel),
        "q4": _four_bits,
        "q4f16": lambda one: _half(_four_bits(one)),
        "bnb4": _bnb4,
    }
    return changes[dtype](model)


def _half(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    from onnxbuild.workers.graphs.nodes import sort_nodes

    half = convert_float_to_float16(
        model, min_positive_val=_LEAST, max_finite_val=_MOST, keep_io_types=True, op_block_list=list(_FLOAT_OPERATORS)
    )
    sort_nodes(half)
    return half


def _wants_unsigned(model: onnx.ModelProto) -> bool:
    from onnxbuild.workers.graphs.walk import nodes_of

    return any(node.op_type in _UNSIGNED_OPERATORS for node in nodes_of(model))


def _integers(model: onnx.ModelProto, *, signed: bool, per_channel: bool) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    options: dict[str, Any] = {"EnableSubgraph": True, "MatMulConstBOnly": True}
    quantizer = ONNXQuantizer(
        model,
        per_channel,
        per_channel,  # reduce_range
        QuantizationMode.IntegerOps,
        False,  # static
        QuantType.QInt8 if signed else QuantType.QUInt8,
        QuantType.QUInt8,
        None,
        [],
        [],
        list(IntegerOpsRegistry),
        options,
    )
    quantizer.quantize_model()
    result: onnx.ModelProto = quantizer.model.model
    return result


def _four_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(model, block_size=32, is_symmetric=True, accuracy_level=None)
    quantizer.process()
    result: onnx.ModelProto = quantizer.model.model
    return result


def _bnb4(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer

    quantizer = MatMulBnb4Quantizer(model, MatMulBnb4Quantizer.NF4, 64)
    quantizer.process()
    result: onnx.ModelProto = quantizer.model.model
    return result
