"""The table of embeddings that a graph reads its token ids from, as a graph by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx.external_data_helper import uses_external_data

from onnxbuild.workers.graphs.graph_files import load_graph
from onnxbuild.workers.graphs.weights import read_external, weight_bytes

IDS, ROWS, COUNT = "ids", "rows", "count"

_UNCHANGED = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})  # ids stay ids
_LOOKUPS = frozenset({"Gather", "GatherBlockQuantized"})
_FUSED = "EmbedLayerNormalization"  # with its inputs of ids, and the places of their tables
_FUSED_TABLES = {"input_ids": (0, 2), "token_type_ids": (1, 4)}
_STORED = frozenset({"DequantizeLinear", "Cast", "Transpose", "Identity", "Constant"})  # from weights to a table
_MOST_BYTES = 1 << 30


def word_table(path: Path, name: str = "input_ids") -> ModelProto | None:
    """A graph from `ids` [n] to their `rows` [n, width] and the `count` of all; None for other ways to look ids up.

    Errors: CheckFailed OBE40 if the file of a weight ends too early.
    """
    model = load_graph(path)
    lookup = _lookup(model.graph, name)
    if lookup is None:
        return None
    nodes = _complete(model.graph, lookup)
    if nodes is None:
        return None
    read = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in read]
    if sum(map(weight_bytes, weights)) > _MOST_BYTES:
        return None
    for tensor in weights:
        if uses_external_data(tensor):
            read_external(tensor, path)
    return _alone(model, nodes, weights)


def rows_in_float(table: ModelProto) -> ModelProto:
    """A graph of `word_table` with its rows in fp32."""
    model = ModelProto()
    model.CopyFrom(table)
    last = next(node for node in model.graph.node if ROWS in node.output)
    last.output[0] = "stored"
    model.graph.node.append(helper.make_node("Cast", ["stored"], [ROWS], to=TensorProto.FLOAT))
    return model


def _lookup(graph: GraphProto, name: str) -> NodeProto | None:
    """The node that reads the ids, with `ids` in their place."""
    ids = {name}
    place, table = _FUSED_TABLES[name]
    for node in graph.node:
        if node.op_type in _UNCHANGED and node.input[0] in ids:
            ids.update(node.output)
        elif node.op_type in _LOOKUPS and node.input[1] in ids and not any(_axis(node)):
            lookup = NodeProto()
            lookup.CopyFrom(node)
            lookup.input[1] = IDS
            return lookup
        elif node.op_type == _FUSED and node.input[place] in ids:
            return helper.make_node("Gather", [node.input[table], IDS], [ROWS])
    return None


def _axis(node: NodeProto) -> Iterator[int]:
    return (int(one.i) for one in node.attribute if one.name in {"axis", "gather_axis"})


def _complete(graph: GraphProto, lookup: NodeProto) -> list[NodeProto] | None:
    """The lookup behind what its table is computed from, and before what makes numbers of its codes."""
    stored = {tensor.name for tensor in graph.initializer} | {IDS, ""}
    makers = {name: node for node in graph.node for name in node.output}
    before = list(_made(lookup, makers, stored))
    if any(node is None for node in before):
        return None
    after = next(
        (node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] == lookup.output[0]), None
    )
    counted = helper.make_node("Shape", [lookup.input[0]], [COUNT])
    return [*(node for node in before if node is not None), counted, lookup, *([after] if after is not None else [])]


def _made(node: NodeProto, makers: dict[str, NodeProto], stored: set[str]) -> Iterator[NodeProto | None]:
    """The nodes that make the inputs of a node, first ones first; None for one that is computed at run time."""
    for name in node.input:
        if name in stored:
            continue
        maker = makers.get(name)
        if maker is None or maker.op_type not in _STORED:
            yield None
            return
        stored.add(name)
        yield from _made(maker, makers, stored)
        yield maker


def _alone(model: ModelProto, nodes: list[NodeProto], weights: list[TensorProto]) -> ModelProto:
    kept = [NodeProto() for _ in nodes]
    for copy, node in zip(kept, nodes, strict=True):
        copy.CopyFrom(node)
    kept[-1].output[0] = ROWS
    given = helper.make_tensor_value_info(IDS, TensorProto.INT64, ["n"])
    made = [helper.make_empty_tensor_value_info(ROWS), helper.make_tensor_value_info(COUNT, TensorProto.INT64, [None])]
    graph = helper.make_graph(kept, "table", [given], made, weights)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
