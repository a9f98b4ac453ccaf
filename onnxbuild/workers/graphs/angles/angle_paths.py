"""The nodes that compute angles in fp32 while the rest of a graph is in half precision, from positions to Sin and Cos.

fp16 has 11 binary digits. A rotary angle of 3000 is rounded to a multiple of 2, so its sine is noise: measured, the
rms error of a cosine was 0.02 at position 500 and 0.24 at position 3000. Neither the position nor its product with a
frequency may be rounded, only the result of Sin and Cos, which is between -1 and 1.

A value is *exact* if it is computed from inputs, integers and stored numbers by operators that keep it so. An angle is
what a product or a table of angles gives. What a network computed before has the rounding of half precision already,
and stays in it: the Sin of a periodic activation after a Conv is not kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from onnx import ModelProto, NodeProto, TensorProto

from onnxbuild.workers.graphs.angles.angle_products import KEEP_ANGLES, WAVES, computes_angles
from onnxbuild.workers.graphs.half import named
from onnxbuild.workers.graphs.nodes import sort_nodes
from onnxbuild.workers.graphs.shapes import infer_types
from onnxbuild.workers.graphs.walk import graphs_of, has_branches, names_read, nodes_of

_VALUE, _EXACT, _ANGLE = range(3)
_FLOATING = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_PRODUCTS = ("Einsum", "MatMulNBits")  # besides those that quantization knows
# Between a product and a wave. Multimodal rotary positions are written into each other by a Scatter.
_PASS_ANGLES = KEEP_ANGLES | {"ScatterND", "ScatterElements", "GatherElements", "Mod", "Floor", "Ceil", "Round", "Pad"}
# Between positions and a product: frequencies are often computed, as 1 / base ** (k / n).
_KEEP_EXACT = _PASS_ANGLES | {
    "Constant", "ConstantOfShape", "Range", "CumSum", "Pow", "Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Min", "Max",
    "Clip", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean",
}  # fmt: skip


def keep_angles(model: ModelProto) -> set[str]:
    """Names of the nodes that compute angles and their Sin and Cos, which half precision must leave in fp32.

    Weights that they share with other nodes become their own: a weight is rounded if any of its readers is. `model` is
    changed only if it has angles; then all its nodes have names.
    """
    if not any(node.op_type in WAVES for node in nodes_of(model)):
        return set()
    sort_nodes(model)  # ONNX Runtime's optimizer leaves them unsorted
    kept = _kept(list(nodes_of(named(model))), _tables(model), _not_floating(model))
    _own_weights(model, kept)
    return kept


def _tables(model: ModelProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for graph in graphs_of(model.graph) for tensor in graph.initializer}


def _not_floating(model: ModelProto) -> set[str]:
    """Values of integers, booleans and texts, as far as onnx infers them."""
    values = (*model.graph.input, *model.graph.output, *infer_types(model))
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    kinds |= {tensor.name: tensor.data_type for tensor in _tables(model).values()}
    return {name for name, kind in kinds.items() if kind not in {*_FLOATING, TensorProto.UNDEFINED}}


def _kept(nodes: Iterable[NodeProto], tables: Mapping[str, TensorProto], others: Collection[str]) -> set[str]:
    """Go up from each wave to the products that compute its angle, and from these as far as values are exact."""
    states: dict[str, int] = {}
    makers: dict[str, NodeProto] = {}
    for node in nodes:  # a node comes after what it reads
        state = _state(node, tables, [states.get(name, _EXACT) for name in node.input if name not in others])
        for name in node.output:
            states[name], makers[name] = state, node
    wanted = [node for node in makers.values() if node.op_type in WAVES and states[node.input[0]] != _VALUE]
    return _upwards(wanted, makers, states, tables, others)


def _state(node: NodeProto, tables: Mapping[str, TensorProto], inputs: Collection[int]) -> int:
    if _computes_angles(node, tables):
        return _ANGLE
    if node.op_type in _PASS_ANGLES and _ANGLE in inputs:
        return _ANGLE
    # A node with branches stays in fp32 as a whole.
    is_exact = has_branches(node) or (node.op_type in _KEEP_EXACT and all(state == _EXACT for state in inputs))
    return _EXACT if is_exact else _VALUE


def _computes_angles(node: NodeProto, tables: Mapping[str, TensorProto]) -> bool:
    return node.op_type in _PRODUCTS or computes_angles(node, tables)


def _upwards(
    waves: Iterable[NodeProto],
    makers: Mapping[str, NodeProto],
    states: Mapping[str, int],
    tables: Mapping[str, TensorProto],
    others: Collection[str],
) -> set[str]:
    """Names of the waves, and of all nodes above them that compute exact values and angles."""
    kept: set[str] = set()
    # A product is found below another one as well, which needs its exact inputs only.
    wanted = [(node, False) for node in waves]
    seen: set[tuple[str, bool]] = set()
    while wanted:
        node, is_above = wanted.pop()
        if (node.name, is_above) in seen:
            continue
        seen.add((node.name, is_above))
        kept.add(node.name)
        above = is_above or _computes_angles(node, tables)
        read = [makers[name] for name in node.input if name in makers and name not in others]
        wanted.extend((maker, above) for maker in read if _goes_on(maker, states, above=above))
    return kept


def _goes_on(node: NodeProto, states: Mapping[str, int], *, above: bool) -> bool:
    state = states[node.output[0]]
    return not has_branches(node) and (state == _EXACT or (state == _ANGLE and not above))


def _own_weights(model: ModelProto, kept: Collection[str]) -> None:
    """Give the `kept` nodes copies of the stored weights that other nodes read, too."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    mine = [node for node in model.graph.node if node.name in kept]
    read_here = {name for node in mine for name in node.input}
    read_elsewhere = {name for node in model.graph.node if node.name not in kept for name in names_read(node)}
    taken = {*stored, *(name for node in nodes_of(model) for name in (*node.input, *node.output))}
    own = {name: _free(f"{name}_of_angles", taken) for name in sorted(read_here & read_elsewhere & stored.keys())}
    for node in mine:
        for place, name in enumerate(node.input):
            node.input[place] = own.get(name, name)
    for name, new in own.items():
        model.graph.initializer.add().CopyFrom(stored[name])
        model.graph.initializer[-1].name = new


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
