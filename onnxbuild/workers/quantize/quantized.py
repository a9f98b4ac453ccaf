"""The result of a quantizer: operators with integer weights, and the nodes that stayed in float, with the reason."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import ModelProto, NodeProto, TensorProto

from onnxbuild.workers.graphs.walk import graphs_of, nodes_of

# Operators that exist only with integer weights.
_QUANTIZED = ("MatMulInteger", "ConvInteger", "QAttention", "DynamicQuantizeLSTM", "MatMulNBits", "QLinearMatMul",
              "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "GatherBlockQuantized", "MatMulBnb4")  # fmt: skip

# Operators that are usually quantized if one of their inputs is a stored weight.
_CANDIDATES = ("MatMul", "Gemm", "Conv", "Attention", "FusedMatMul", "LSTM", "Gather")

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def quantized_operators(model: ModelProto) -> dict[str, int]:
    """How many quantized operators of each type.

    A Gather counts if it reads an integer table, any other operator if one of its inputs is dequantized from stored
    integers, as static quantization writes it.
    """
    tables = {t.name for g in graphs_of(model.graph) for t in g.initializer if t.data_type not in _FLOATS}
    stored = {
        node.output[0] for node in nodes_of(model) if node.op_type == "DequantizeLinear" and node.input[0] in tables
    }
    counts: dict[str, int] = {}
    for node in nodes_of(model):
        integer_gather = node.op_type == "Gather" and node.input[0] in tables and node.input[0].endswith("_quantized")
        if node.op_type in _QUANTIZED or integer_gather or stored.intersection(node.input):
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def left_in_float(model: ModelProto, exclude: Iterable[str]) -> dict[str, list[str]]:
    """Names of the nodes that stayed in float, by reason."""
    weights = {t.name for g in graphs_of(model.graph) for t in g.initializer if t.data_type in _FLOATS}
    excluded = set(exclude)
    nodes: dict[str, list[str]] = {}
    for node in nodes_of(model):
        if node.op_type in _CANDIDATES and (reason := _reason(node, weights, excluded)):
            nodes.setdefault(reason, []).append(node.name)
    return {reason: sorted(names) for reason, names in sorted(nodes.items())}


def _reason(node: NodeProto, weights: set[str], excluded: set[str]) -> str | None:
    stored = [name for name in node.input if name in weights]
    if node.name in excluded:
        return "excluded"
    if node.op_type == "Gather":
        return "an embedding, which this method leaves alone" if node.input[0] in weights else None
    if not stored:
        return "no stored weight: its inputs are computed"
    return f"{node.op_type} with a stored weight, which this method does not quantize"
