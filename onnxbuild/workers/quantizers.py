"""The two quantizers of ONNX Runtime, called on a model in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from onnx import ModelProto, TensorProto

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.graph import EXTERNAL_FROM_BYTES, graphs_of, load_model, nodes_of, save_model


class _Integers(NamedTuple):
    """Signedness of the weights; activations are uint8 everywhere, the only kind that dynamic mode has."""

    signed_weights: bool
    reduce_range: bool


# As optimum's AutoQuantizationConfig has them. avx2 adds pairs of u8·u8 products in 16 bits with saturation, so its
# weights are unsigned; VNNI and ARM's dot product accumulate in 32 bits and take signed ones.
PRESETS: Mapping[str, _Integers] = {
    "arm64": _Integers(signed_weights=True, reduce_range=False),
    "avx2": _Integers(signed_weights=False, reduce_range=False),
    "avx512": _Integers(signed_weights=True, reduce_range=False),
    "avx512_vnni": _Integers(signed_weights=True, reduce_range=False),
}


def quantize_dynamic(model: ModelProto, scratch: Path, params: QuantizeParams) -> ModelProto:
    """int8 weights, activations quantized at run time. `scratch` is an empty folder for its files."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as quantize

    integers = PRESETS[params.preset]
    source, result = scratch / "float.onnx", scratch / "int8.onnx"
    large = model.ByteSize() >= EXTERNAL_FROM_BYTES
    save_model(model, source, external=large)
    quantize(
        source,
        result,
        op_types_to_quantize=list(params.operators) or None,
        per_channel=params.per_channel,
        reduce_range=integers.reduce_range,
        weight_type=QuantType.QInt8 if integers.signed_weights else QuantType.QUInt8,
        nodes_to_exclude=[*params.exclude, *_computed_convolutions(model)],
        use_external_data_format=large,
        # Shape inference stops at fused operators, and a tensor of unknown type would end the whole quantization.
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
    return load_model(result)


def _computed_convolutions(model: ModelProto) -> list[str]:
    """Convolutions whose weight is computed (wav2vec2's weight norm): the quantizer stops at one instead of passing."""
    stored = {tensor.name for graph in graphs_of(model.graph) for tensor in graph.initializer}
    return [node.name for node in nodes_of(model) if node.op_type == "Conv" and node.input[1] not in stored]


def quantize_weights(model: ModelProto, params: QuantizeParams) -> ModelProto:
    """4- or 8-bit weights in blocks; activations stay as they are. `model` is changed."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        model,
        bits=params.bits,
        block_size=params.block_size,
        is_symmetric=params.symmetric,
        accuracy_level=params.accuracy_level,
        nodes_to_exclude=list(params.exclude),
        algo_config=_algorithm(params),
    )
    quantizer.process()
    result: ModelProto = quantizer.model.model
    return result


def _algorithm(params: QuantizeParams) -> Any:
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, HQQWeightOnlyQuantConfig

    if params.algorithm == "hqq":
        return HQQWeightOnlyQuantConfig(
            block_size=params.block_size, bits=params.bits, op_types_to_quantize=("MatMul",)
        )
    return DefaultWeightOnlyQuantConfig(
        block_size=params.block_size,
        is_symmetric=params.symmetric,
        accuracy_level=params.accuracy_level,
        bits=params.bits,
        op_types_to_quantize=("MatMul",),
    )
