"""The result of a quantizer: operators with integer weights, and the nodes that stayed in float, with the reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from onnx import ModelProto, NodeProto, TensorProto

from onnxbuild.workers.graphs.walk import graphs_of, names_read, nodes_of

# Operators that exist only with integer weights.
_QUANTIZED = ("MatMulInteger", "ConvInteger", "QAttention", "DynamicQuantizeLSTM", "MatMulNBits", "QLinearMatMul",
              "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "GatherBlockQuantized", "MatMulBnb4")  # fmt: skip

# Operators that are usually quantized if one of their inputs is a stored weight.
_CANDIDATES = ("MatMul", "Gemm", "Conv", "Attention", "FusedMatMul", "LSTM", "Gather")

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_MATRIX = 2  # axes

EXCLUDED = "excluded"
EMBEDDING = "an embedding, which this method leaves alone"
COMPUTED = "no stored weight: its inputs are computed"
FOLDABLE = "its weight is computed from weights"
INNER = "inside of a branch or a loop, which this method leaves alone"
DEEP = "a weight of three axes or more, which this method leaves alone"
OF_OTHER_METHOD = "with a stored weight, which this method does not quantize"
NOT_FP32 = "its weight is not fp32"
ANGLE = "its result is an angle, which is read by Sin or Cos"


def quantized_operators(model: ModelProto) -> dict[str, int]:
    """How many quantized operators of each type.

    A Gather counts if it reads an integer table, any other operator if one of its inputs is dequantized from stored
    integers, as static quantization writes it.
    """
    tables, stored = _integer_tables(model), _dequantized(model)
    counts: dict[str, int] = {}
    for node in nodes_of(model):
        integer_gather = node.op_type == "Gather" and node.input[0] in tables and node.input[0].endswith("_quantized")
        if node.op_type in _QUANTIZED or integer_gather or stored.intersection(node.input):
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def left_in_float(model: ModelProto, exclude: Iterable[str], angles: Collection[str] = ()) -> dict[str, list[str]]:
    """Names of the nodes that stayed in float, by reason."""
    weights = {t.name: t for g in graphs_of(model.graph) for t in g.initializer if t.data_type in _FLOATS}
    excluded, done, fed = set(exclude), _dequantized(model), _computed_from_inputs(model)
    nodes: dict[str, list[str]] = {}
    for graph in graphs_of(model.graph):
        for node in graph.node:
            if node.op_type not in _CANDIDATES or done.intersection(node.input):
                continue
            reason = _reason(node, weights, excluded, inner=graph is not model.graph)
            reason = FOLDABLE if reason == COMPUTED and not fed.issuperset(node.input) else reason
            reason = ANGLE if reason not in {None, EXCLUDED, COMPUTED} and node.name in angles else reason
            if reason is not None:
                nodes.setdefault(reason, []).append(node.name)
    return {reason: sorted(names) for reason, names in sorted(nodes.items())}


def _reason(node: NodeProto, weights: Mapping[str, TensorProto], excluded: set[str], *, inner: bool) -> str | None:
    stored = [weights[name] for name in node.input if name in weights]
    if node.name in excluded:
        return EXCLUDED
    if node.op_type == "Gather":
        return EMBEDDING if node.input[0] in weights else None
    return _reason_of_weight(node, stored[0], inner=inner) if stored else COMPUTED


def _reason_of_weight(node: NodeProto, weight: TensorProto, *, inner: bool) -> str:
    if weight.data_type != TensorProto.FLOAT:
        return NOT_FP32
    if inner:
        return INNER
    if node.op_type == "MatMul" and len(weight.dims) > _MATRIX:
        return DEEP
    return f"{node.op_type} {OF_OTHER_METHOD}"


def _computed_from_inputs(model: ModelProto) -> set[str]:
    """The values that depend on what a graph is fed; the others are the same in every run."""
    fed: set[str] = {""}
    for graph in graphs_of(model.graph):
        stored = {tensor.name for tensor in graph.initializer}
        fed |= {value.name for value in graph.input if value.name not in stored}
        for node in graph.node:
            if not fed.isdisjoint(names_read(node)):
                fed.update(node.output)
    return fed


def _integer_tables(model: ModelProto) -> set[str]:
    return {t.name for graph in graphs_of(model.graph) for t in graph.initializer if t.data_type not in _FLOATS}


def _dequantized(model: ModelProto) -> set[str]:
    """What is dequantized from stored integers."""
    tables = _integer_tables(model)
    nodes = (node for node in nodes_of(model) if node.op_type == "DequantizeLinear")
    return {node.output[0] for node in nodes if node.input[0] in tables}
