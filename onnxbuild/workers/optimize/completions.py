"""Completes graphs for ONNX Runtime's fusions, which read optional inputs as if they always existed.

torch.export writes Gemm and LayerNormalization without a bias where the model has none (ModernBERT); the fusions of
onnxruntime 1.31 for GPT-2 and BERT fail on them with an IndexError.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

_WITHOUT_BIAS = 2  # inputs of either operator


def complete(model: ModelProto) -> int:
    """Give every LayerNormalization a bias, and turn a Gemm without one into MatMul; returns how many changed."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    changed = 0
    for node in model.graph.node:
        if sum(bool(name) for name in node.input) != _WITHOUT_BIAS:
            continue
        if node.op_type == "LayerNormalization" and node.input[1] in weights:
            _add_bias(model, node, weights[node.input[1]])
            changed += 1
        elif node.op_type == "Gemm" and _is_plain(node):
            _to_matmul(node)
            changed += 1
    return changed


def _add_bias(model: ModelProto, node: NodeProto, weight: TensorProto) -> None:
    name = f"{weight.name}_no_bias"
    if all(tensor.name != name for tensor in model.graph.initializer):
        zeros = np.zeros(weight.dims, helper.tensor_dtype_to_np_dtype(weight.data_type))
        model.graph.initializer.append(numpy_helper.from_array(zeros, name))
    del node.input[_WITHOUT_BIAS:]
    node.input.append(name)


def _is_plain(node: NodeProto) -> bool:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return attributes.get("alpha", 1.0) == 1.0 and not attributes.get("transA") and not attributes.get("transB")


def _to_matmul(node: NodeProto) -> None:
    node.op_type = "MatMul"
    del node.attribute[:]
    del node.input[_WITHOUT_BIAS:]
