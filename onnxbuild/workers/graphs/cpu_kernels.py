"""Fusions that cost time on a CPU, taken apart again, and written so that ONNX Runtime does not fuse them on loading.

Measured with onnxruntime 1.31.1, one thread, microseconds:

- SkipLayerNormalization adds up a row number by number: 222 for 128×384 and 437 for 128×768, where an addition and
  LayerNormalization take 37 and 66. A session makes one of every Add before a LayerNormalization whose shapes it can
  tell, and knows no such pattern with Sum, which is the same addition.
- BiasGelu keeps a bias that the integer product before it would take for nothing (161 instead of 117 for 128×1536).
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
    """Write each addition with a normalization behind it as Sum and LayerNormalization, fused or not; how many.

    In fp32 alone, for which alone the CPU has a kernel of Sum.
    """
    if opset_of(model) < _NORM_OPSET:
        return 0
    return sum(_part_skip_norms(graph, _floats(model.graph, graph)) for graph in graphs_of(model.graph))


def part_biased_gelus(model: ModelProto) -> int:
    """Write each BiasGelu as an Add and a Gelu, so that the product before takes the bias; how many."""
    count = 0
    for graph in graphs_of(model.graph):
        nodes: list[NodeProto] = []
        for node in graph.node:
            if node.op_type == "BiasGelu":
                name, biased = node.name or node.output[0], f"{node.output[0]}_biased"
                nodes.append(helper.make_node("Add", list(node.input), [biased], name=f"{name}_bias"))
                nodes.append(helper.make_node("Gelu", [biased], list(node.output), name=name, domain=_MICROSOFT))
                count += 1
            else:
                nodes.append(node)
        replace_nodes(graph, nodes)
    return count


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
    """What is added of two computed tensors, neither of them a bias, and normalized."""
    normalized = {n.input[0] for n in graph.node if n.op_type == "LayerNormalization" and n.input[1] in floats}
    return {
        node.output[0]
        for node in graph.node
        if node.op_type == "Add" and node.output[0] in normalized and not floats.intersection(node.input)
    }


def _can_part(node: NodeProto, graph: GraphProto, floats: set[str]) -> bool:
    """Whether scale and offset are stored fp32, and nobody reads the means and deviations, which Sum does not give."""
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
