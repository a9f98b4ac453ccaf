"""Going through a graph: its inner graphs, its nodes, its tensors, and the names that a node reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto


def graphs_of(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all graphs inside it (branches of If, bodies of Loop), outermost first."""
    yield graph
    for node in graph.node:
        for inner in _graphs_in(node):
            yield from graphs_of(inner)


def nodes_of(model: ModelProto) -> Iterator[NodeProto]:
    """Every node of a model, including those of inner graphs."""
    return (node for graph in graphs_of(model.graph) for node in graph.node)


def tensors_of(model: ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor: initializers and constants, including those of inner graphs and of local functions."""
    for graph in graphs_of(model.graph):
        yield from graph.initializer
        yield from (tensor for one in graph.sparse_initializer for tensor in (one.values, one.indices))
        yield from _constants(graph.node)
    for function in model.functions:
        yield from _constants(function.node)
        for node in function.node:
            for inner in (graph for one in _graphs_in(node) for graph in graphs_of(one)):
                yield from inner.initializer
                yield from _constants(inner.node)


def _constants(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    """The tensors in the attributes of nodes, without those of their branches and bodies."""
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.type == AttributeProto.TENSOR:
            yield attribute.t
        if attribute.type == AttributeProto.SPARSE_TENSOR:
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        yield from attribute.tensors


def names_read(node: NodeProto) -> Iterator[str]:
    """What a node reads: its inputs, and what its branches and bodies take from the graph around them."""
    yield from (name for name in node.input if name)
    yield from names_captured(node)


def names_captured(node: NodeProto) -> Iterator[str]:
    """What the branches and bodies of a node take from the graph around them."""
    for inner in _graphs_in(node):
        local = _names_defined(inner)
        yield from (name for one in inner.node for name in names_read(one) if name not in local)
        # A branch may return a value that it did not compute.
        yield from (name for name in {value.name for value in inner.output} if name not in local)


def has_branches(node: NodeProto) -> bool:
    """Whether a node has graphs inside it."""
    return any(True for _ in _graphs_in(node))


def opset_of(model: ModelProto) -> int:
    """The version of the standard operators that a model uses."""
    return next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)


def count_operators(model: ModelProto) -> dict[str, int]:
    """How many nodes of each type a model has, types in alphabetical order."""
    return dict(sorted(Counter(node.op_type for node in nodes_of(model)).items()))


def _names_defined(graph: GraphProto) -> set[str]:
    computed = {name for node in graph.node for name in node.output}
    return computed | {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}


def _graphs_in(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs
