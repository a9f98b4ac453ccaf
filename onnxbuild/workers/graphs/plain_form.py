"""Brings a graph into the form that quantizers and converters read: each weight stored, and each node in a graph.

They look for an operator whose weight is an initializer. Exporters also write weights as constants, behind an Identity
(tied weights) or a Cast (stored in half precision), as inputs with a value (IR version 3), and nodes inside of local
functions. ONNX Runtime computes the same from all of these forms; a quantizer skips the node, and a converter to half
precision leaves one input of it in fp32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxbuild.workers.graphs.nodes import remove_dead_nodes, rename_inputs, replace_messages, replace_nodes
from onnxbuild.workers.graphs.walk import graphs_of

# Operator → the place of the input that is a weight, for those that are quantized or lead to one.
_WEIGHT: Mapping[str, int] = {
    "MatMul": 1, "Gemm": 1, "FusedMatMul": 1, "Conv": 1, "ConvTranspose": 1, "Attention": 1, "LSTM": 1, "Gather": 0,
    "Transpose": 0,
}  # fmt: skip

# The forms of a Constant without a tensor, and the type that each gives.
_NUMBERS: Mapping[str, Any] = {
    "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64,
}  # fmt: skip

_FIRST_IR_WITH_WEIGHTS_APART = 4


def take_weights_from_inputs(model: ModelProto) -> None:
    """Let no input have the name of a weight: what feeds it would have to be changed with the weight."""
    stored = {tensor.name for tensor in model.graph.initializer}
    if stored.isdisjoint(value.name for value in model.graph.input):
        return
    replace_messages(model.graph.input, [value for value in model.graph.input if value.name not in stored])
    model.ir_version = max(model.ir_version, _FIRST_IR_WITH_WEIGHTS_APART)


def inline_functions(model: ModelProto) -> int:
    """Put the nodes of local functions in place of their calls; returns how many functions there were.

    Weights are not passed on, because onnx serializes what it inlines, and a message ends at 2 GB.
    """
    count = len(model.functions)
    if not count:
        return 0
    from onnx.inliner import inline_local_functions

    whole = model.graph
    graph = GraphProto(name=whole.name, node=whole.node, input=whole.input, output=whole.output)
    graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in whole.initializer)
    bare = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)
    bare.functions.extend(model.functions)
    inlined = inline_local_functions(bare)
    replace_messages(whole.node, inlined.graph.node)
    replace_messages(model.opset_import, inlined.opset_import)
    replace_messages(model.functions, inlined.functions)
    return count


def write_constants_as_tensors(model: ModelProto) -> None:
    """Give every Constant its value as a tensor: converters change no other form."""
    for node in (node for graph in graphs_of(model.graph) for node in graph.node if node.op_type == "Constant"):
        tensor = _tensor_of(node)
        if tensor is not None and node.attribute[0].name != "value":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("value", tensor))


def store_weights(model: ModelProto) -> int:
    """Store each weight that is a constant, or an Identity or a Cast of a weight; returns how many."""
    scope = _Scope.of(model.graph)
    outputs = {value.name for graph in graphs_of(model.graph) for value in graph.output}
    names = dict.fromkeys(name for name in _weights_read(model) if name in scope.makers and name not in outputs)
    count = sum(_store(model, scope, name) for name in names)
    if count:
        remove_dead_nodes(model)
    return count


class _Scope(NamedTuple):
    """The node that computes each value with the graph where it is, and every stored weight; unique names only."""

    makers: dict[str, tuple[GraphProto, NodeProto]]
    stored: dict[str, TensorProto]

    @classmethod
    def of(cls, outermost: GraphProto) -> _Scope:
        graphs = list(graphs_of(outermost))
        makers = {name: (graph, node) for graph in graphs for node in graph.node for name in node.output}
        stored = {tensor.name: tensor for graph in graphs for tensor in graph.initializer}
        # Two branches may use one name for different values; such values stay as they are.
        times = Counter(name for graph in graphs for name in _defined(graph))
        once = {name for name, count in times.items() if count == 1}
        return cls({n: m for n, m in makers.items() if n in once}, {n: t for n, t in stored.items() if n in once})

    def weight(self, name: str) -> TensorProto | None:
        """The stored weight that a value is, or a copy of it; in fp32 if a Cast says so."""
        if name in self.stored:
            return self.stored[name]
        node = self.makers[name][1] if name in self.makers else None
        if node is not None and node.op_type == "Constant":
            return _tensor_of(node)
        if node is None or node.op_type not in {"Identity", "Cast"} or not _keeps_type_or_is_float(node):
            return None
        inner = self.weight(node.input[0])
        return _in_float(inner) if inner is not None and node.op_type == "Cast" else inner

    def is_transposed(self, name: str) -> bool:
        """Whether a Transpose gives a value: who reads it without a copy between them can store it transposed."""
        return name in self.makers and self.makers[name][1].op_type == "Transpose"


def _defined(graph: GraphProto) -> Iterator[str]:
    yield from (name for node in graph.node for name in node.output)
    yield from (value.name for value in (*graph.input, *graph.initializer))


def _weights_read(model: ModelProto) -> Iterator[str]:
    for graph in graphs_of(model.graph):
        yield from (node.input[_WEIGHT[node.op_type]] for node in graph.node if node.op_type in _WEIGHT)


def _store(model: ModelProto, scope: _Scope, name: str) -> bool:
    """Store one weight in place of the node that gives it; readers of an Identity read what it copies."""
    weight = scope.weight(name)
    graph, node = scope.makers[name]
    if weight is None and node.op_type == "Identity" and scope.is_transposed(node.input[0]):
        rename_inputs(model, {name: node.input[0]})
        return True
    if weight is None:
        return False
    if node.op_type == "Identity" and node.input[0] in scope.stored:
        rename_inputs(model, {name: node.input[0]})
        return True
    stored = TensorProto.FromString(weight.SerializeToString())
    stored.name = name
    replace_nodes(graph, [one for one in graph.node if name not in one.output])
    graph.initializer.append(stored)
    scope.stored[name] = stored
    return True


def _keeps_type_or_is_float(node: NodeProto) -> bool:
    return node.op_type == "Identity" or any(a.name == "to" and a.i == TensorProto.FLOAT for a in node.attribute)


def _in_float(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _tensor_of(node: NodeProto) -> TensorProto | None:
    """The value of a Constant as a tensor; None for texts and sparse values."""
    attribute = next(iter(node.attribute), None)
    if attribute is None:
        return None
    if attribute.name == "value":
        return attribute.t
    if attribute.name not in _NUMBERS:
        return None
    value = np.array(helper.get_attribute_value(attribute), _NUMBERS[attribute.name])
    return numpy_helper.from_array(value, node.output[0])
