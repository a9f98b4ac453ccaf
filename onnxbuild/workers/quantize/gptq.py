"""GPTQ: 4-bit weights are rounded one input after another, and each error is compensated in the inputs that follow.

After Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers" (2022).
onnxruntime 1.31 has its own (`neural_compressor.gptq_quantize`), which rounds the result of GPTQ again, to other
scales (MiniLM: a cosine of 0.9745, like plain rounding, instead of 0.979), and runs the model once per MatMul and
sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.calibrate.feeds import Feeds
from onnxbuild.workers.calibrate.observe import watch
from onnxbuild.workers.model_folder.counted_steps import CountedSteps
from onnxbuild.workers.quantize.nbits import Codes, replace_matmuls, taken

_TOP = 15  # the largest code of 4 bits
_DAMPING = 0.01  # of the mean diagonal, as in the paper


def quantize_gptq(
    model: ModelProto, params: QuantizeParams, feeds: Iterable[Feeds], scratch: Path, steps: CountedSteps
) -> ModelProto:
    """Replace each MatMul with a stored weight by MatMulNBits; each weight is a step. `model` is changed."""
    nodes = taken(model, params)
    steps.expect(len({node.input[1] for node in nodes}))
    hessians = _hessians(model, sorted({node.input[0] for node in nodes}), feeds, scratch)

    def codes(node: NodeProto, weight: np.ndarray) -> Codes:
        steps.begin(f"rounding {node.name}")
        return _rounded(weight, hessians[node.input[0]], params)

    return replace_matmuls(model, params, codes)


def _hessians(model: ModelProto, tensors: list[str], feeds: Iterable[Feeds], scratch: Path) -> dict[str, np.ndarray]:
    """The second moments [inputs, inputs] of what each MatMul reads, summed sample by sample."""
    hessians: dict[str, np.ndarray] = {}
    for values in watch(model, tensors, feeds, scratch):
        for name, array in values.items():
            rows = array.reshape(-1, array.shape[-1])
            product = rows.T @ rows
            hessians[name] = hessians[name] + product if name in hessians else product
    return hessians


def _rounded(weight: np.ndarray, hessian: np.ndarray, params: QuantizeParams) -> Codes:
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
    return Codes(codes, scales, zeros)


def _inverse_factor(hessian: np.ndarray) -> np.ndarray:
    """The upper Cholesky factor of the inverse, damped so that it exists; inputs that were always 0 count as 1."""
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
