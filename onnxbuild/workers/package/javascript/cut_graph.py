"""A part of a graph: one output alone, with the nodes, weights and inputs that lead to it."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import GraphProto, ModelProto, NodeProto

from onnxbuild.workers.graphs.nodes import remove_dead_nodes, rename_inputs, replace_messages
from onnxbuild.workers.graphs.walk import names_read

_LONGEST_NORM = 8  # nodes between a vector and its length: squares, their sum, a root, a lower bound, a shape


def keep_output(model: ModelProto, output: str, name: str) -> None:
    """Leave in a model what leads to one of its outputs, and call that `name`."""
    graph = model.graph
    replace_messages(graph.output, [one for one in graph.output if one.name == output])
    remove_dead_nodes(model)
    rename_inputs(model, {output: name})
    for node in graph.node:
        renamed = [name if one == output else one for one in node.output]
        del node.output[:]
        node.output.extend(renamed)
    graph.output[0].name = name
    _remove_unread(graph)


def _remove_unread(graph: GraphProto) -> None:
    read = {name for node in graph.node for name in names_read(node)}
    computed = {name for node in graph.node for name in node.output}
    replace_messages(graph.input, [one for one in graph.input if one.name in read])
    replace_messages(graph.initializer, [one for one in graph.initializer if one.name in read])
    replace_messages(graph.value_info, [one for one in graph.value_info if one.name in computed])


def undo_length(model: ModelProto, output: str) -> bool:
    """Make an output the vector before it was divided by its length; whether there was such a division.

    A cast behind the division, which half precision adds, stays.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in {"Cast", "Identity"}:
        node = makers.get(node.input[0])
    if node is None or node.op_type != "Div" or not _leads(makers, node.input[0], node.input[1]):
        return False
    node.op_type = "Identity"
    del node.input[1]
    return True


def _leads(makers: Mapping[str, NodeProto], start: str, end: str) -> bool:
    """Whether a value is computed from another one by a few nodes, each from the first input of the next."""
    name = end
    for _ in range(_LONGEST_NORM):
        node = makers.get(name)
        if name == start or node is None or not node.input:
            break
        name = node.input[0]
    return name == start
