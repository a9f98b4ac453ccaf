"""Matrix products in the form that quantizers recognize; the numbers stay the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxbuild.workers.graphs.nodes import replace_nodes
from onnxbuild.workers.graphs.shapes import infer_types
from onnxbuild.workers.graphs.walk import graphs_of
from onnxbuild.workers.graphs.weights import drop_unused_weights

_MATRIX = 2  # axes
_BIAS = 2  # place of Gemm's input C

Weights = Mapping[str, TensorProto]


def gemm_to_matmul(model: ModelProto) -> int:
    """Turn each Gemm with a stored weight (alpha = beta = 1, A as it is) into MatMul and Add; returns how many.

    Quantizers look for MatMul: GPT-2's Conv1D layers are Gemm, and with them left in fp32 dynamic int8 decodes 24
    tokens per second instead of 73 (measured, 124M, one thread), with the same text.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    return sum(_rewrite_gemms(graph, weights) for graph in graphs_of(model.graph))


def _rewrite_gemms(graph: GraphProto, outer: Weights) -> int:
    weights = {**outer, **{tensor.name: tensor for tensor in graph.initializer}}
    count = 0
    nodes: list[NodeProto] = []
    for node in graph.node:
        if _is_plain_gemm(node, weights):
            nodes.extend(_matmul_and_add(node, _straight_weight(node, weights, graph)))
            count += 1
        else:
            nodes.append(node)
    replace_nodes(graph, nodes)
    return count


def fold_transposed_weights(model: ModelProto) -> int:
    """Store a weight transposed if a MatMul reads it through a Transpose; returns how many.

    Tied embeddings are exported as one tensor and a Transpose for the head. A quantizer skips a MatMul whose second
    input is computed, which leaves the largest product of a small language model in fp32.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    count = sum(_fold_transposes(graph, weights) for graph in graphs_of(model.graph))
    if count:
        drop_unused_weights(model)
    return count


def _fold_transposes(graph: GraphProto, weights: Weights) -> int:
    readers = (node for inner in graphs_of(graph) for node in inner.node)
    read_by_matmul = {node.input[1] for node in readers if node.op_type == "MatMul"}
    kept: list[NodeProto] = []
    count = 0
    for node in graph.node:
        source = weights.get(node.input[0]) if _is_matrix_transpose(node) else None
        if source is None or len(source.dims) != _MATRIX or node.output[0] not in read_by_matmul:
            kept.append(node)
            continue
        array = np.ascontiguousarray(numpy_helper.to_array(source).T)
        graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
        count += 1
    replace_nodes(graph, kept)
    return count


def squeeze_weights(model: ModelProto) -> int:
    """Store the weight of a MatMul as a matrix if its other axes have length 1 and change no shape; returns how many.

    Only one of ONNX Runtime's quantizers takes such a weight.
    """
    weights = {t.name: t for t in model.graph.initializer if len(t.dims) > _MATRIX and set(t.dims[:-_MATRIX]) == {1}}
    if not weights:
        return 0
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*model.graph.input, *infer_types(model))}
    readers = [(n, place) for graph in graphs_of(model.graph) for n in graph.node for place in _places(n, weights)]
    kept = {n.input[place] for n, place in readers if not _is_product_of(n, place, weights, ranks)}
    kept |= {value.name for value in model.graph.output}
    squeezed = [tensor for name, tensor in weights.items() if name not in kept]
    for tensor in squeezed:
        shape = list(tensor.dims[-_MATRIX:])
        del tensor.dims[:]
        tensor.dims.extend(shape)
    return len(squeezed)


def _places(node: NodeProto, weights: Weights) -> Iterator[int]:
    return (place for place, name in enumerate(node.input) if name in weights)


def _is_product_of(node: NodeProto, place: int, weights: Weights, ranks: Mapping[str, int]) -> bool:
    """Whether a node multiplies by a weight that has no more axes than what it is multiplied with."""
    if node.op_type != "MatMul" or place != 1:
        return False
    return ranks.get(node.input[0], 0) >= len(weights[node.input[1]].dims)


def _is_plain_gemm(node: NodeProto, weights: Weights) -> bool:
    if node.op_type != "Gemm" or node.input[1] not in weights:
        return False
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return (attributes.get("alpha", 1.0), attributes.get("beta", 1.0), attributes.get("transA", 0)) == (1.0, 1.0, 0)


def _straight_weight(node: NodeProto, weights: Weights, graph: GraphProto) -> str:
    """The name of the weight as MatMul reads it; a transposed copy where Gemm has transB."""
    if not any(a.name == "transB" and a.i for a in node.attribute):
        return str(node.input[1])
    name = f"{node.input[1]}_transposed"
    if not any(tensor.name == name for tensor in graph.initializer):
        array = np.ascontiguousarray(numpy_helper.to_array(weights[node.input[1]]).T)
        graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def _matmul_and_add(node: NodeProto, weight: str) -> Iterator[NodeProto]:
    output, name = node.output[0], node.name or node.output[0]
    bias = node.input[_BIAS] if len(node.input) > _BIAS else ""
    product = f"{output}_product" if bias else output
    # The MatMul keeps the node's name, so that an `exclude` written for the Gemm still matches it.
    yield helper.make_node("MatMul", [node.input[0], weight], [product], name=name)
    if bias:
        yield helper.make_node("Add", [product, bias], [output], name=f"{name}_bias")


def _is_matrix_transpose(node: NodeProto) -> bool:
    if node.op_type != "Transpose":
        return False
    perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [1, 0])
    return perm == [1, 0]
