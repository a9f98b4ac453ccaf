"""Operations on the nodes of a graph: replace, rename, remove and sort them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from onnx import GraphProto, ModelProto, NodeProto, helper

from onnxbuild.workers.graphs.walk import graphs_of, names_read


def replace_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Make these the nodes of a graph; some of them may be its own."""
    replace_messages(graph.node, nodes)


def replace_messages(field: Any, values: Iterable[Any]) -> None:
    """Fill a repeated field with copies of these messages, some of which may be its own."""
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(copies)


def rename_inputs(model: ModelProto, renamed: Mapping[str, str]) -> None:
    """Make every node that reads a name read another one, including nodes of inner graphs."""
    for graph in graphs_of(model.graph):
        for node in graph.node:
            for index, name in enumerate(node.input):
                if name in renamed:
                    node.input[index] = renamed[name]


def declare_own_operators(model: ModelProto) -> None:
    """Import the domain of ONNX Runtime's operators, which quantizers and fusions forget to do."""
    if not any(opset.domain == "com.microsoft" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def remove_dead_nodes(model: ModelProto) -> None:
    """Remove the nodes that lead to no output."""
    makers = {name: node for node in model.graph.node for name in node.output}
    alive: set[int] = set()
    waiting = [value.name for value in model.graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and id(node) not in alive:
            alive.add(id(node))
            waiting += names_read(node)
    replace_nodes(model.graph, [node for node in model.graph.node if id(node) in alive])


def sort_nodes(model: ModelProto) -> None:
    """Sort the nodes so that each follows the nodes whose outputs it reads."""
    made_here = {name for node in model.graph.node for name in node.output}
    ready: set[str] = set()
    left, ordered = list(model.graph.node), list[NodeProto]()
    while left:
        later: list[NodeProto] = []
        for node in left:
            if all(name in ready or name not in made_here for name in names_read(node)):
                ordered.append(node)
                ready.update(node.output)
            else:
                later.append(node)
        assert len(later) < len(left), "BUG: the graph has a cycle"
        left = later
    replace_nodes(model.graph, ordered)
