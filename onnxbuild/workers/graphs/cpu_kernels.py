"""Splits fusions that are slow on a CPU, in a form that ONNX Runtime does not fuse again when it loads the model.

Measured with onnxruntime 1.31.1, one thread, in microseconds:

| operator | shape | fused | split |
|---|---|---|---|
| SkipLayerNormalization | 128×384 | 222 | 37 |
| SkipLayerNormalization | 128×768 | 437 | 66 |
| BiasGelu after an integer product | 128×1536 | 161 | 117 |

SkipLayerNormalization adds up a row number by number. A session creates it from every Add before a LayerNormalization
whose shapes it can infer, but not from Sum, which is the same addition. BiasGelu keeps a bias that the integer product
before it would add at no cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from onnxbuild.workers.graphs.nodes import replace_nodes
from onnxbuild.workers.graphs.walk import graphs_of, names_read, opset_of

_SKIP = "SkipLayerNormalization"
_NORM_OPSET = 17  # from which on LayerNormalization is a standard operator
_MICROSOFT = "com.microsoft"


def part_skip_norms(model: ModelProto) -> int:
    """Write each addition before a normalization as Sum and LayerNormalization, fused or not; returns how many.

    Only in fp32, because the CPU has no other kernel for Sum.
    """
    if opset_of(model) < _NORM_OPSET:
        return 0
    return sum(_part_skip_norms(graph, _floats(model.graph, graph)) for graph in graphs_of(model.graph))


def part_biased_gelus(model: ModelProto) -> int:
    """Write each BiasGelu as an Add and a Gelu, so that the product before it adds the bias; returns how many."""
    count = 0
    for graph in graphs_of(model.graph):
        count += sum(node.op_type == "BiasGelu" for node in graph.node)
        replace_nodes(graph, [part for node in graph.node for part in _without_bias(node)])
    return count


def _without_bias(node: NodeProto) -> Iterator[NodeProto]:
    if node.op_type != "BiasGelu":
        yield node
        return
    name, biased = node.name or node.output[0], f"{node.output[0]}_biased"
    yield helper.make_node("Add", list(node.input), [biased], name=f"{name}_bias")
    yield helper.make_node("Gelu", [biased], list(node.output), name=name, domain=_MICROSOFT)


def _part_skip_norms(graph: GraphProto, floats: set[str]) -> int:
    additions = _additions_before_norms(graph, floats)
    nodes: list[NodeProto] = []
    count = 0
    for node in graph.node:
        if node.op_type == _SKIP and _can_part(node, graph, floats):
            nodes.extend(_parted(node))
            count += 1
            continue
        if node.op_type == "Add" and node.output[0] in additions:
            node.op_type = "Sum"
            count += 1
        nodes.append(node)
    replace_nodes(graph, nodes)
    return count


def _additions_before_norms(graph: GraphProto, floats: set[str]) -> set[str]:
    """The sums of two computed tensors, neither of them a bias, that are normalized next."""
    normalized = {n.input[0] for n in graph.node if n.op_type == "LayerNormalization" and n.input[1] in floats}
    return {
        node.output[0]
        for node in graph.node
        if node.op_type == "Add" and node.output[0] in normalized and not floats.intersection(node.input)
    }


def _can_part(node: NodeProto, graph: GraphProto, floats: set[str]) -> bool:
    """Whether scale and offset are stored in fp32, and no node reads the means and deviations, which Sum lacks."""
    if node.input[2] not in floats:
        return False
    statistics = {name for name in node.output[1:3] if name}
    return not (statistics and statistics.intersection(_read(graph)))


def _parted(node: NodeProto) -> Iterator[NodeProto]:
    inputs = [*node.input, *[""] * (5 - len(node.input))]
    one, other, scale, offset, bias = inputs[:5]
    name = node.name or node.output[0]
    total = node.output[3] if len(node.output) > 3 and node.output[3] else f"{node.output[0]}_sum"  # noqa: PLR2004
    yield helper.make_node("Sum", [one, other, bias] if bias else [one, other], [total], name=f"{name}_sum")
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-12)
    norm = [total, scale, offset] if offset else [total, scale]
    yield helper.make_node("LayerNormalization", norm, [node.output[0]], name=name, axis=-1, epsilon=epsilon)


def _floats(*graphs: GraphProto) -> set[str]:
    return {t.name for graph in graphs for t in graph.initializer if t.data_type == TensorProto.FLOAT}


def _read(graph: GraphProto) -> Iterable[str]:
    yield from (name for node in graph.node for name in names_read(node))
    yield from (value.name for value in graph.output)
