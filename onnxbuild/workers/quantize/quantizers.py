"""The quantizers of ONNX Runtime, called on a model in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, TensorProto

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.calibrate.observe import Range
from onnxbuild.workers.graphs.nodes import replace_messages
from onnxbuild.workers.graphs.shapes import infer_types
from onnxbuild.workers.graphs.walk import graphs_of, nodes_of, opset_of
from onnxbuild.workers.quantize.nbits import Codes, replace_matmuls

_INT16_OPSET = 21
_INTEGER_MAX_OPSET = 12

# The 4-bit floats of bitsandbytes, by the kernel's numbers for them.
_BNB4: Mapping[str, int] = {"fp4": 0, "nf4": 1}


class _Integers(NamedTuple):
    """Signedness of the weights; activations are always uint8, the only type that dynamic mode supports."""

    signed_weights: bool
    reduce_range: bool


# As in optimum's AutoQuantizationConfig. avx2 adds pairs of u8·u8 products in 16 bits with saturation, so its weights
# are unsigned; VNNI and ARM's dot product accumulate in 32 bits and take signed weights.
PRESETS: Mapping[str, _Integers] = {
    "arm64": _Integers(signed_weights=True, reduce_range=False),
    "avx2": _Integers(signed_weights=False, reduce_range=False),
    "avx512": _Integers(signed_weights=True, reduce_range=False),
    "avx512_vnni": _Integers(signed_weights=True, reduce_range=False),
}


def quantize_dynamic(model: ModelProto, params: QuantizeParams) -> ModelProto:
    """int8 weights, activations quantized at run time. `model` is changed.

    It uses the class behind `onnxruntime.quantization.quantize_dynamic`, because that function saves and loads the
    model twice to infer shapes, and holds its weights in memory four times.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode, add_infer_metadata, update_opset_version
    from onnxruntime.quantization.registry import IntegerOpsRegistry

    integers = PRESETS[params.preset]
    weights = QuantType.QInt8 if integers.signed_weights else QuantType.QUInt8
    model = update_opset_version(model, weights)
    metadata = list(model.metadata_props)
    value_info = list(model.graph.value_info)
    replace_messages(model.graph.value_info, infer_types(model))
    add_infer_metadata(model)
    quantizer = ONNXQuantizer(
        model,
        params.per_channel,
        integers.reduce_range,
        QuantizationMode.IntegerOps,
        True,  # "static", without which its constructor repeats two steps: Gemm to MatMul, and inference
        weights,
        QuantType.QUInt8,
        None,
        [],
        [*params.exclude, *without_weight(model)],
        list(params.operators) or list(IntegerOpsRegistry),
        # Inference stops at fused operators, and a tensor of unknown type would fail the whole quantization.
        {"DefaultTensorType": TensorProto.FLOAT, "MatMulConstBOnly": True},
    )
    quantizer.static = False
    _keep_per_tensor(quantizer, model)
    result: ModelProto = quantizer.quantize_model()
    replace_messages(result.graph.value_info, value_info)
    replace_messages(result.metadata_props, metadata)
    return result


def without_weight(model: ModelProto) -> list[str]:
    """Names of the products and convolutions whose second operand is computed.

    They stay in float: the quantizer fails on such a convolution (wav2vec2's weight norm), and ranges from data clip
    larger values, which in a rotary embedding belong to every position after the longest of the calibration.
    """
    stored = {tensor.name for graph in graphs_of(model.graph) for tensor in graph.initializer}
    return [n.name for n in nodes_of(model) if n.op_type in {"Conv", "MatMul"} and n.input[1] not in stored]


def quantize_static(
    model: ModelProto, limits: Mapping[str, Range], operators: Collection[str], params: QuantizeParams
) -> ModelProto:
    """int8 weights and activations in the ranges given, as QuantizeLinear and DequantizeLinear. `model` is changed.

    The output of a MatMul stays in float: rounding it costs most of the accuracy (MiniLM: cosine 0.935 instead of
    0.990) and saves no time, because the next node reads floats.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    integers = PRESETS[params.preset]
    pairs = {name: (np.float32(low), np.float32(high)) for name, (low, high) in limits.items()}
    quantizer = QDQQuantizer(
        model,
        params.per_channel,
        integers.reduce_range,
        QuantType.QInt8 if integers.signed_weights else QuantType.QUInt8,
        QuantType.QUInt16 if params.activations == 16 else QuantType.QUInt8,  # noqa: PLR2004 - bits
        TensorsData(CalibrationMethod.MinMax, pairs),
        [],
        [*params.exclude, *without_weight(model)],
        list(operators),
        {
            "MatMulConstBOnly": True,
            "OpTypesToExcludeOutputQuantization": ["MatMul"],
            "DefaultTensorType": TensorProto.FLOAT,
            # 16-bit QuantizeLinear is a standard operator from opset 21 on.
            "UseQDQContribOps": params.activations == 16 and opset_of(model) < _INT16_OPSET,  # noqa: PLR2004
        },
    )
    deep = _weights_of_three_axes(model)
    own = quantizer.is_tensor_per_channel
    quantizer.is_tensor_per_channel = lambda name, *args, **more: (
        (False, None) if name in deep else own(name, *args, **more)
    )
    quantizer.quantize_model()
    result: ModelProto = quantizer.model.model
    return result


def _keep_per_tensor(quantizer: Any, model: ModelProto) -> None:
    """Let a dynamic quantizer give one scale to each weight of three axes or more."""
    deep = {t.name: t for t in model.graph.initializer if t.name in _weights_of_three_axes(model)}
    own = quantizer.quantize_weight_per_channel

    def quantize(name: str, kind: Any, axis: int, *args: Any, **more: Any) -> Any:
        if name in deep:
            return quantizer.quantize_initializer(deep[name], kind, *args, **more)
        return own(name, kind, axis, *args, **more)

    quantizer.quantize_weight_per_channel = quantize


def _weights_of_three_axes(model: ModelProto) -> set[str]:
    """Weights of products that are no matrices: the kernels of ONNX Runtime 1.31 have one scale for each of them."""
    deep = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) > 2}  # noqa: PLR2004 - a matrix
    return {node.input[1] for node in nodes_of(model) if node.op_type == "MatMul" and node.input[1] in deep}


def quantize_weights(model: ModelProto, params: QuantizeParams) -> ModelProto:
    """4- or 8-bit weights in blocks; activations stay as they are. `model` is changed."""
    if params.algorithm in _BNB4:
        return _quantize_bnb4(model, params)
    if params.algorithm == "k_quant":
        return replace_matmuls(model, params, lambda _, weight: _k_quant(weight, params))
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        model,
        bits=params.bits,
        block_size=params.block_size,
        is_symmetric=params.symmetric,
        accuracy_level=params.accuracy_level,
        nodes_to_exclude=[*params.exclude, *_too_deep_to_reshape(model)],
        algo_config=_algorithm(params),
    )
    quantizer.process()
    result: ModelProto = quantizer.model.model
    return result


def _too_deep_to_reshape(model: ModelProto) -> list[str]:
    """Names of the products that stay in float at an old opset: the quantizer reshapes their result by later forms.

    It takes a weight of one matrix in three axes, and computes the shape of the result with Slice and Max of integers.
    """
    if opset_of(model) >= _INTEGER_MAX_OPSET:
        return []
    stored = (tensor for graph in graphs_of(model.graph) for tensor in graph.initializer)
    deep = {tensor.name for tensor in stored if len(tensor.dims) > 2}  # noqa: PLR2004 - a matrix
    return [n.name for n in nodes_of(model) if n.op_type == "MatMul" and n.input[1] in deep]


def _algorithm(params: QuantizeParams) -> Any:
    from onnxruntime.quantization import matmul_nbits_quantizer as library

    only = ("MatMul",)
    if params.algorithm == "hqq":
        return library.HQQWeightOnlyQuantConfig(
            block_size=params.block_size, bits=params.bits, op_types_to_quantize=only
        )
    return library.DefaultWeightOnlyQuantConfig(
        block_size=params.block_size,
        is_symmetric=params.symmetric,
        accuracy_level=params.accuracy_level,
        bits=params.bits,
        op_types_to_quantize=only,
    )


def _k_quant(weight: np.ndarray, params: QuantizeParams) -> Codes:
    """llama.cpp's search for the scale and zero point of each block, by onnxruntime's function.

    The result is packed here: onnxruntime 1.31 packs zero points across the end of a row, and fails if a row has
    an odd number of blocks.
    """
    from onnxruntime.quantization.neural_compressor.weight_only import quant_tensor_k_quant_cpu

    inputs, outputs = weight.shape
    blocks = -(-inputs // params.block_size)
    filled = np.pad(weight, ((0, blocks * params.block_size - inputs), (0, 0)))
    codes, scales, zeros = quant_tensor_k_quant_cpu(np.ascontiguousarray(filled.T), params.bits, params.block_size)
    return Codes(
        codes.reshape(outputs, -1).T.astype(np.uint8),
        scales.reshape(outputs, blocks).T.astype(np.float32),
        zeros.reshape(outputs, blocks).T.astype(np.float32),
    )


def _quantize_bnb4(model: ModelProto, params: QuantizeParams) -> ModelProto:
    from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer

    quantizer = MatMulBnb4Quantizer(model, _BNB4[params.algorithm], params.block_size, list(params.exclude))
    quantizer.process()
    result: ModelProto = quantizer.model.model
    return result
