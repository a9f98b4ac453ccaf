"""Puts the scales of a group into its weights, and their inverse into what computes the activations.

The graph computes the same numbers afterwards, up to the rounding of fp32. Where the last node before an activation has
parameters for each channel (the scale and bias of a normalization, a stored factor, the columns of a weight), the
inverse goes into these, and costs nothing. Otherwise one Mul divides the activation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxbuild.workers.graphs.nodes import replace_nodes
from onnxbuild.workers.quantize.smoothing.groups import Group, reads

# Normalization → the places of its inputs that have one number for each channel of what it computes.
_NORMS: Mapping[str, tuple[int, ...]] = {
    "LayerNormalization": (1, 2),
    "SimplifiedLayerNormalization": (1,),
    "RMSNormalization": (1,),
    "SkipLayerNormalization": (2, 3),
    "SkipSimplifiedLayerNormalization": (2,),
}
_ENDING = "_smoothed"


def put_scales(model: ModelProto, group: Group, scales: np.ndarray, *, per_channel: bool) -> dict[str, int]:
    """Smooth the products of one group. `model` is changed. Returns how many inverses were `folded` and `multiplied`.

    `per_channel`: the columns of a weight may be scaled, because each has its own scale when it is quantized.
    """
    graph = _Graph(model, scales, per_channel=per_channel)
    for weight in group.weights:
        graph.replace(weight, scales[:, None])
    folded = [name for name in group.activations if _fold_activation(graph, name, group)]
    multiplied = [name for name in group.activations if name not in folded]
    for name in multiplied:
        _multiply(graph, name, group)
    return {"folded": len(folded), "multiplied": len(multiplied)}


class _Graph:
    """A model with the inverse of the scales, and what is needed to find who computes and who reads a value."""

    def __init__(self, model: ModelProto, scales: np.ndarray, *, per_channel: bool) -> None:
        self.model, self.inverse, self.per_channel = model, 1 / scales, per_channel
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.reads = reads(model)

    def replace(self, weight: str, factor: np.ndarray) -> None:
        """Multiply a stored weight in place."""
        values = numpy_helper.to_array(self.weights[weight]) * factor
        self.weights[weight].CopyFrom(numpy_helper.from_array(values.astype(np.float32), weight))

    def is_vector(self, name: str) -> bool:
        """Whether a stored fp32 weight has one number for each channel, along its last axis."""
        tensor = self.weights.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return False
        return list(tensor.dims[-1:]) == [len(self.inverse)] and set(tensor.dims[:-1]) <= {1}

    def scaled_copy(self, name: str) -> str:
        """A copy of a stored weight times the inverse: other nodes may read the original."""
        copy = self.free_name(name)
        values = numpy_helper.to_array(self.weights[name]) * self.inverse
        return self.store(copy, values)

    def store(self, name: str, values: np.ndarray) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        self.weights[name] = self.model.graph.initializer[-1]
        return name

    def free_name(self, name: str) -> str:
        free = f"{name}{_ENDING}"
        while free in self.weights or free in self.makers or self.reads.get(free):
            free += "_"
        return free


def _fold_activation(graph: _Graph, name: str, group: Group) -> bool:
    """Fold the inverse into what computes an activation that only the group reads."""
    own = sum(node.input[0] == name for node in _nodes_of(graph.model, group))
    return graph.reads[name] == own and _fold(graph, name)


def _fold(graph: _Graph, name: str) -> bool:
    """Fold the inverse into the node that computes a value, or into one before it; nothing changes if that fails."""
    node = graph.makers.get(name)
    if node is None or name != node.output[0]:
        return False
    if node.op_type in _NORMS:
        return _fold_norm(graph, node)
    fold = _FOLDS.get(node.op_type)
    return fold is not None and fold(graph, node)


def _fold_norm(graph: _Graph, node: NodeProto) -> bool:
    places = [place for place in _NORMS[node.op_type] if len(node.input) > place and node.input[place]]
    if not all(graph.is_vector(node.input[place]) for place in places):
        return False
    for place in places:
        node.input[place] = graph.scaled_copy(node.input[place])
    return True


def _fold_factor(graph: _Graph, node: NodeProto) -> bool:
    """A Mul: into its stored factor, or into one of its two computed ones (the linear half of a gated unit)."""
    for place, name in enumerate(node.input):
        if graph.is_vector(name):
            node.input[place] = graph.scaled_copy(name)
            return True
    return any(_fold_before(graph, name) for name in reversed(node.input) if name not in graph.weights)


def _fold_sum(graph: _Graph, node: NodeProto) -> bool:
    """An Add: into its stored term, and into what computes the other one."""
    for place, name in enumerate(node.input):
        if graph.is_vector(name) and _fold_before(graph, node.input[1 - place]):
            node.input[place] = graph.scaled_copy(name)
            return True
    return False


def _fold_columns(graph: _Graph, node: NodeProto) -> bool:
    """A product: into the columns of its weight, where nothing else reads it."""
    weight = graph.weights.get(node.input[1])
    if not graph.per_channel or weight is None or weight.data_type != TensorProto.FLOAT:
        return False
    if len(weight.dims) != 2 or weight.dims[1] != len(graph.inverse) or graph.reads[weight.name] != 1:  # noqa: PLR2004
        return False
    graph.replace(weight.name, graph.inverse)
    return True


def _fold_before(graph: _Graph, name: str) -> bool:
    """Fold into what computes a value that only one node reads."""
    return graph.reads[name] == 1 and _fold(graph, name)


# max(x / s, 0) is max(x, 0) / s for every s above 0. A Reshape before a product keeps the channels in their order: what
# takes the inverse in has one number for each of them along its last axis.
_FOLDS: Mapping[str, Callable[[_Graph, NodeProto], bool]] = {
    "Mul": _fold_factor,
    "Add": _fold_sum,
    "MatMul": _fold_columns,
    "Relu": lambda graph, node: _fold_before(graph, node.input[0]),
    "Reshape": lambda graph, node: _fold_before(graph, node.input[0]),
}


def _multiply(graph: _Graph, name: str, group: Group) -> None:
    """Put one Mul between an activation and the products of the group that read it."""
    product = graph.free_name(name)
    factor = graph.store(f"{product}_by", graph.inverse)
    readers = [node for node in _nodes_of(graph.model, group) if node.input[0] == name]
    first = readers[0].output[0]
    for node in readers:
        node.input[0] = product
    multiply = helper.make_node("Mul", [name, factor], [product], name=product)
    nodes: list[NodeProto] = []
    for node in graph.model.graph.node:
        nodes.extend((multiply, node) if node.output[0] == first else (node,))
    replace_nodes(graph.model.graph, nodes)


def _nodes_of(model: ModelProto, group: Group) -> Iterable[NodeProto]:
    """The nodes of a group, in the order of the graph."""
    weights = set(group.weights)
    return [node for node in model.graph.node if len(node.input) > 1 and node.input[1] in weights]
