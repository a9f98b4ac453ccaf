"""MatMulNBits: ONNX Runtime's operator for weights of 4 or 8 bits in blocks, written from codes and scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxbuild.steps.quantize import QuantizeParams

_MATRIX = 2
_NIBBLES = 4  # bits, of which two codes share a byte


class Codes(NamedTuple):
    """Weights as integers from 0 on [inputs, outputs] with scales and zero points [blocks, outputs].

    Inputs are padded to whole blocks.
    """

    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray


def replace_matmuls(
    model: ModelProto, params: QuantizeParams, quantize: Callable[[NodeProto, np.ndarray], Codes]
) -> ModelProto:
    """Replace each MatMul with a stored weight by MatMulNBits with the codes from `quantize`. `model` is changed."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    made: dict[str, tuple[str, ...]] = {}
    for node in taken(model, params):
        name = node.input[1]
        if name not in made:
            weight = numpy_helper.to_array(weights[name]).astype(np.float32)
            made[name] = store_codes(model, name, quantize(node, weight), params)
        put_codes(node, made[name], tuple(weights[name].dims), params)
    return model


def taken(model: ModelProto, params: QuantizeParams) -> list[NodeProto]:
    """The MatMuls whose weight is a stored matrix, without excluded ones."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    return [node for node in model.graph.node if _is_taken(node, weights, params)]


def _is_taken(node: NodeProto, weights: Mapping[str, TensorProto], params: QuantizeParams) -> bool:
    if node.op_type != "MatMul" or node.name in params.exclude or node.input[1] not in weights:
        return False
    return len(weights[node.input[1]].dims) == _MATRIX


def store_codes(model: ModelProto, name: str, weight: Codes, params: QuantizeParams) -> tuple[str, ...]:
    """Write the packed weight, its scales and zero points into the model; returns their names."""
    outputs = weight.codes.shape[1]
    tensors = {
        f"{name}_Q{params.bits}": _packed(weight.codes.T.reshape(outputs, -1, params.block_size), params.bits),
        f"{name}_scales": np.ascontiguousarray(weight.scales.T),
    }
    if not params.symmetric:
        tensors[f"{name}_zero_points"] = _packed(weight.zeros.T.astype(np.uint8), params.bits)
    model.graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in tensors.items())
    return tuple(tensors)


def _packed(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes packed along the last axis: 4-bit codes two per byte, the first in the low half, padded with 8."""
    if bits != _NIBBLES:
        whole: np.ndarray = np.ascontiguousarray(codes)
        return whole
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.full((*codes.shape[:-1], 1), 8, np.uint8)], axis=-1)
    packed: np.ndarray = codes[..., ::2] | codes[..., 1::2] << 4
    return packed


def put_codes(node: NodeProto, stored: tuple[str, ...], shape: tuple[int, ...], params: QuantizeParams) -> None:
    """Make a MatMul a MatMulNBits with the tensors that `store_codes` wrote; `shape` is that of its weight."""
    attributes = {"K": shape[0], "N": shape[1], "bits": params.bits, "block_size": params.block_size}
    if params.accuracy_level:
        attributes["accuracy_level"] = params.accuracy_level
    node.CopyFrom(
        helper.make_node(
            "MatMulNBits",
            [node.input[0], *stored],
            list(node.output),
            name=f"{node.name or node.output[0]}_Q{params.bits}",
            domain="com.microsoft",
            **attributes,
        )
    )
