"""Converts a graph to half precision with ONNX Runtime's converter, after declaring the type of every value.

The converter adds a cast between a node that stays in fp32 and one that does not, and it needs the types of values for
that. onnx's shape inference does not know ONNX Runtime's own operators, so that q4 and fused graphs ended with fp16 at
one end of an edge and fp32 at the other. A session on the graph knows the types of all operators.

A node with branches (DeBERTa's relative positions) stays in fp32 with everything inside; what its branches take from
the graph around them is cast for them.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, defs, helper, numpy_helper

from onnxbuild.workers.graphs.nodes import remove_dead_nodes, replace_nodes, sort_nodes
from onnxbuild.workers.graphs.shapes import infer_types
from onnxbuild.workers.graphs.walk import graphs_of, has_branches, names_captured, nodes_of, opset_of

# A CumSum of fp16 has no kernel on the CPU, and positions counted in fp16 end at 2048.
_ALWAYS_FLOAT = ("CumSum",)


def named(model: ModelProto) -> ModelProto:
    """The model with a name for every node: nodes that stay in fp32 are listed by name."""
    taken = {node.name for node in nodes_of(model)}
    for number, node in enumerate(nodes_of(model)):
        if not node.name:
            node.name = f"{node.op_type}_{number}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)
    return model


def float_nodes(model: ModelProto, floats: Collection[str]) -> list[str]:
    """Names of the nodes that compute or read fp32."""
    known = set(floats)
    return [node.name for node in model.graph.node if not known.isdisjoint((*node.input, *node.output))]


def to_half(
    model: ModelProto,
    dtype: str,
    kept: Collection[str],
    *,
    keep_io_types: bool,
    floats: Collection[str],
    angles: Collection[str],
) -> ModelProto:
    """The model in `dtype` (fp16, bf16), except for the nodes named in `kept` and `angles`. `model` is changed.

    Branches read what a node of `angles` computes without rounding.

    `floats` are its fp32 values, as `float_tensors` returns them for a model whose nodes all have names.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    branching = [node.name for node in model.graph.node if has_branches(node)]
    captured = {name for node in model.graph.node for name in names_captured(node)}
    captured &= {*floats, *_stored_floats(model)}
    unrounded = {name for node in model.graph.node if node.name in angles for name in node.output}
    _declare_types(model, floats)
    own_casts = {node.name for node in model.graph.node if node.op_type == "Cast"}
    exact = _originals(model) if dtype == "bf16" else {}
    converted = convert_float_to_float16(
        model,
        keep_io_types=keep_io_types,
        disable_shape_infer=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_ALWAYS_FLOAT],
        node_block_list=[*kept, *angles, *branching],
    )
    _drop_repeated_casts(converted)
    _join_stretches(converted, own_casts)
    if dtype == "bf16":
        _to_bfloat16(converted, exact)
    _cast_for_branches(converted, captured, captured & unrounded)
    sort_nodes(converted)  # the converter adds its casts at the end
    del converted.graph.value_info[:]
    return converted


def _declare_types(model: ModelProto, floats: Collection[str]) -> None:
    """Give every fp32 value of the graph its type, without a shape."""
    own = {value.name for value in (*model.graph.input, *model.graph.output)}
    del model.graph.value_info[:]
    for name in floats:
        if name not in own:
            model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def _drop_repeated_casts(model: ModelProto) -> None:
    """Keep one of equal casts: the converter writes one for each reader, all with the same name."""
    seen: set[str] = set()
    kept: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "Cast" or node.output[0] not in seen:
            kept.append(node)
        seen.update(node.output)
    replace_nodes(model.graph, kept)


def _join_stretches(model: ModelProto, own_casts: Collection[str]) -> None:
    """Pass fp32 directly from one node that stays in fp32 to the next: the converter casts it to fp16 in between.

    That loses digits, and turns values above 65504 into infinity, which is why these nodes stay in fp32. The casts of
    the original graph stay: they may be meant to round.
    """
    added = [node for node in model.graph.node if node.op_type == "Cast" and node.name not in own_casts]
    halved = {node.output[0]: node.input[0] for node in added if _casts_to(node, TensorProto.FLOAT16)}
    joined = {
        node.output[0]: halved[node.input[0]]
        for node in added
        if _casts_to(node, TensorProto.FLOAT) and node.input[0] in halved
    }
    given = {value.name for value in model.graph.output}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name in joined:
                node.input[place] = joined[name]
        if node.op_type == "Cast" and node.output[0] in joined and node.output[0] in given:
            node.op_type = "Identity"
            node.input[0] = joined[node.output[0]]
            del node.attribute[:]
    remove_dead_nodes(model)


def _casts_to(node: NodeProto, kind: int) -> bool:
    return any(attribute.name == "to" and attribute.i == kind for attribute in node.attribute)


def _stored_floats(model: ModelProto) -> set[str]:
    return {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}


def _cast_for_branches(model: ModelProto, captured: Collection[str], unrounded: Collection[str]) -> None:
    """Cast to fp32 what branches take from the graph around them, which is in half precision now.

    What is `unrounded` is there in fp32 as well, before the cast that the converter added.
    """
    graph = model.graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    halved = [name for name in sorted(captured) if kinds.get(name) != TensorProto.FLOAT]
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    before = {name: casts[name] for name in halved if name in unrounded and name in casts}
    halved = [name for name in halved if name not in before]
    renamed = {name: f"{name}_for_branches" for name in halved} | before
    for inner in graphs_of(graph):
        if inner is not graph:
            for node in inner.node:
                for place, name in enumerate(node.input):
                    node.input[place] = renamed.get(name, name)
    graph.node.extend(
        helper.make_node("Cast", [n], [renamed[n]], name=f"{n}_cast", to=TensorProto.FLOAT) for n in halved
    )
    if before:
        remove_dead_nodes(model)  # the cast to half precision may have no other reader


def _originals(model: ModelProto) -> dict[str, np.ndarray]:
    """The stored weights by name, and constants by their node's output, before they lose digits."""
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    constants = {
        node.output[0]: numpy_helper.to_array(attribute.t)
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.type == AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT
    }
    return {**weights, **constants}


def _to_bfloat16(model: ModelProto, exact: dict[str, np.ndarray]) -> None:
    """Turn everything in fp16 into bf16, rounded from the fp32 originals: the two formats keep different digits."""
    for tensor in model.graph.initializer:
        _round_to_bfloat16(tensor, exact.get(tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in {"to", "dtype"} and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.BFLOAT16
            elif attribute.type == AttributeProto.TENSOR:
                _round_to_bfloat16(attribute.t, exact.get(node.output[0]))
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.BFLOAT16
    left = any(tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer)
    assert not left, "BUG: fp16 left in bf16"  # branches keep their own: they stay as they are


def lacks_bfloat16(model: ModelProto) -> str | None:
    """The first operator that reads or gives bf16 and cannot at the opset of the graph, None if there is none."""
    values = (*model.graph.input, *model.graph.output, *infer_types(model))
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    kinds |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    halves = {name for name, kind in kinds.items() if kind == TensorProto.BFLOAT16}
    opset = opset_of(model)
    standard = (node for node in model.graph.node if node.domain in {"", "ai.onnx"})
    return next((node.op_type for node in standard if not _takes(node, opset, halves)), None)


def _takes(node: NodeProto, opset: int, halves: Collection[str]) -> bool:
    """Whether the operator of this version has bf16 among the types of each place where the node has it."""
    schema = defs.get_schema(node.op_type, opset, "")
    places = ((schema.inputs, node.input), (schema.outputs, node.output))
    return all(
        "tensor(bfloat16)" in formal[min(place, len(formal) - 1)].types  # the last may stand for several
        for formal, names in places for place, name in enumerate(names) if name in halves
    )  # fmt: skip


def _round_to_bfloat16(tensor: TensorProto, exact: np.ndarray | None) -> None:
    import ml_dtypes

    if tensor.data_type != TensorProto.FLOAT16:
        return
    array = exact if exact is not None else numpy_helper.to_array(tensor).astype(np.float32)
    rounded = np.ascontiguousarray(array).astype(ml_dtypes.bfloat16)
    tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.BFLOAT16, array.shape, rounded.tobytes(), raw=True))
