"""GPTQ: 4-bit weights rounded one input after another, each error made good in the inputs that are still to come.

After Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2022). Our
own, since that of onnxruntime 1.31 (`neural_compressor.gptq_quantize`) rounds once more, to other scales, what GPTQ has
settled (MiniLM: a cosine of 0.9745, as of plain rounding, where this has 0.979), and runs the model once for each
MatMul and sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.calibration import Feeds, watch

_TOP = 15  # the greatest code of 4 bits
_DAMPING = 0.01  # of the mean diagonal, as in the paper
_MATRIX = 2


class _Codes(NamedTuple):
    """Weights as numbers from 0 to 15 [inputs, outputs] with scales and zero points [blocks, outputs]."""

    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray


def quantize_gptq(model: ModelProto, params: QuantizeParams, feeds: Iterable[Feeds], scratch: Path) -> ModelProto:
    """Replace each MatMul with a stored weight by MatMulNBits. `model` is changed."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if _is_taken(node, weights, params)]
    hessians = _hessians(model, sorted({node.input[0] for node in nodes}), feeds, scratch)
    made: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        name = node.input[1]
        if name not in made:
            weight = numpy_helper.to_array(weights[name])
            found = _rounded(weight.astype(np.float32), hessians[node.input[0]], params)
            made[name] = _store(model, name, found, params)
        _replace(node, made[name], tuple(weights[name].dims), params)
    return model


def _is_taken(node: NodeProto, weights: Mapping[str, TensorProto], params: QuantizeParams) -> bool:
    if node.op_type != "MatMul" or node.name in params.exclude or node.input[1] not in weights:
        return False
    return len(weights[node.input[1]].dims) == _MATRIX


def _hessians(model: ModelProto, tensors: list[str], feeds: Iterable[Feeds], scratch: Path) -> dict[str, np.ndarray]:
    """The second moments [inputs, inputs] of what each MatMul reads, summed sample by sample."""
    found: dict[str, np.ndarray] = {}
    for values in watch(model, tensors, feeds, scratch):
        for name, array in values.items():
            rows = array.reshape(-1, array.shape[-1])
            product = rows.T @ rows
            found[name] = found[name] + product if name in found else product
    return found


def _rounded(weight: np.ndarray, hessian: np.ndarray, params: QuantizeParams) -> _Codes:
    """GPTQ on one matrix [inputs, outputs], in blocks of the inputs that share a scale."""
    inputs, outputs = weight.shape
    size = params.block_size
    blocks = -(-inputs // size)
    codes = np.zeros((blocks * size, outputs), np.uint8)
    scales, zeros = np.ones((blocks, outputs), np.float32), np.zeros((blocks, outputs), np.float32)
    left = weight.copy()
    inverse = _inverse_factor(hessian)
    for block in range(blocks):
        first, end = block * size, min((block + 1) * size, inputs)
        scales[block], zeros[block] = _scale(left[first:end], symmetric=params.symmetric)
        errors = np.zeros((end - first, outputs), np.float32)
        for row in range(first, end):
            code = np.clip(np.round(left[row] / scales[block]) + zeros[block], 0, _TOP)
            codes[row] = code
            error = (left[row] - (code - zeros[block]) * scales[block]) / inverse[row, row]
            left[row:end] -= np.outer(inverse[row, row:end], error)
            errors[row - first] = error
        left[end:] -= inverse[first:end, end:].T @ errors
    return _Codes(codes, scales, zeros)


def _inverse_factor(hessian: np.ndarray) -> np.ndarray:
    """The upper Cholesky factor of the inverse, damped so that there is one; inputs that were always 0 count as 1."""
    matrix: np.ndarray = hessian.astype(np.float64)
    diagonal = np.diag_indices_from(matrix)
    matrix[diagonal] += np.where(matrix[diagonal] == 0, 1.0, 0.0)
    matrix[diagonal] += _DAMPING * matrix[diagonal].mean()
    factor: np.ndarray = np.linalg.cholesky(np.linalg.inv(matrix)).T.astype(np.float32)
    return factor


def _scale(rows: np.ndarray, *, symmetric: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of each output over a block of inputs; zero is always exact."""
    low, high = np.minimum(rows.min(axis=0), 0), np.maximum(rows.max(axis=0), 0)
    if symmetric:
        most = np.maximum(-low, high)
        scale = np.where(most == 0, 1, most * 2 / _TOP)
        return scale, np.full_like(scale, (_TOP + 1) // 2)
    scale = np.where(high == low, 1, (high - low) / _TOP)
    return scale, np.clip(np.round(-low / scale), 0, _TOP)


def _store(model: ModelProto, name: str, found: _Codes, params: QuantizeParams) -> tuple[str, ...]:
    """Write the packed weight, its scales and zero points into the model; returns their names."""
    outputs = found.codes.shape[1]
    tensors = {
        f"{name}_Q4": _packed(found.codes.T.reshape(outputs, -1, params.block_size)),
        f"{name}_scales": np.ascontiguousarray(found.scales.T),
    }
    if not params.symmetric:
        tensors[f"{name}_zero_points"] = _packed(found.zeros.T.astype(np.uint8))
    model.graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in tensors.items())
    return tuple(tensors)


def _packed(codes: np.ndarray) -> np.ndarray:
    """Two codes a byte along the last axis, the first one in the low half; an odd end is filled with 8."""
    if codes.shape[-1] % 2:
        codes = np.concatenate([codes, np.full((*codes.shape[:-1], 1), 8, np.uint8)], axis=-1)
    packed: np.ndarray = codes[..., ::2] | codes[..., 1::2] << 4
    return packed


def _replace(node: NodeProto, stored: tuple[str, ...], shape: tuple[int, ...], params: QuantizeParams) -> None:
    attributes = {"K": shape[0], "N": shape[1], "bits": 4, "block_size": params.block_size}
    if params.accuracy_level:
        attributes["accuracy_level"] = params.accuracy_level
    node.CopyFrom(
        helper.make_node(
            "MatMulNBits",
            [node.input[0], *stored],
            list(node.output),
            name=f"{node.name}_Q4",
            domain="com.microsoft",
            **attributes,
        )
    )
