"""Products and tables whose results are angles: Sin or Cos reads them, so quantization leaves their weights in float.

An angle counts modulo 2π. A rounding error of 1 % is harmless in a value, but an angle of 40 that is 1 % off is a
wrong angle. Examples are the matrix of random frequencies of SAM's position encoding (measured: int8 masks were 19 %
off), rotary frequencies times positions, Fourier features, and tables of angles by position.

A Conv before a Sin is not one of them: it is the layer of a network with a periodic activation, such as a vocoder's.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto, NodeProto, TensorProto

from onnxbuild.workers.graphs.walk import graphs_of, nodes_of

WAVES = ("Sin", "Cos")
PRODUCTS = ("MatMul", "Gemm", "FusedMatMul")
# What leaves an angle an angle: scales, offsets, and changes of shape, order and type.
KEEP_ANGLES = frozenset({
    "Add", "Sub", "Mul", "Div", "Neg", "Sum", "Concat", "Split", "Slice", "Gather", "Where", "Cast", "Identity",
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Expand", "Tile",
})  # fmt: skip


def angles(model: ModelProto) -> list[str]:
    """Names of the products, and of the Gathers from a stored table, that compute angles. Both have names."""
    makers: dict[str, list[NodeProto]] = {}
    for node in nodes_of(model):
        for name in node.output:
            makers.setdefault(name, []).append(node)  # two branches may use one name
    tables = {tensor.name: tensor for graph in graphs_of(model.graph) for tensor in graph.initializer}
    wanted = [name for node in nodes_of(model) if node.op_type in WAVES for name in node.input]
    seen: set[str] = set()
    found: set[str] = set()
    while wanted:
        name = wanted.pop()
        for node in makers.get(name, ()) if name not in seen else ():
            if computes_angles(node, tables):
                found.add(node.name)
            elif node.op_type in KEEP_ANGLES:
                wanted.extend(node.input)
        seen.add(name)
    return sorted(found)


def computes_angles(node: NodeProto, tables: Mapping[str, TensorProto]) -> bool:
    """Whether a node is a product, or a Gather from a stored table of fp32."""
    if node.op_type == "Gather":
        return node.input[0] in tables and tables[node.input[0]].data_type == TensorProto.FLOAT
    return node.op_type in PRODUCTS
