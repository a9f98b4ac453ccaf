"""Which operators of a graph a client has no kernel for: the reason that its own message does not give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnx import ModelProto, TensorProto

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.publishing.javascript_dtypes import computes_wrong, without_kernel
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.graphs.graph_files import load_graph
from onnxbuild.workers.graphs.walk import graphs_of, nodes_of
from onnxbuild.workers.package.javascript.javascript_card import graphs_of as graph_files

_ZERO_POINTS = 3  # the place of this input of MatMulNBits
_TYPES = {TensorProto.INT8: "int8", TensorProto.UINT8: "uint8"}


def missing_kernels(package: Path, dtype: str, client: str, major: int) -> tuple[str, ...]:
    """The operators in the graphs of a dtype that a client of this major version cannot run.

    The model type in their place, if the client is known to compute other numbers from its graphs.
    """
    model_type = read_config(package).get("model_type")
    if computes_wrong(model_type, client, major):
        return (str(model_type),)
    try:
        found = frozenset(name for path in graph_files(package, dtype) for name in operators_of(load_graph(path)))
    except CheckFailed:  # a damaged file, of which the client has said so
        return ()
    return without_kernel(found, client, major)


def operators_of(model: ModelProto) -> Iterator[str]:
    """The operators of a graph, and each with what its weights are: `ConvInteger:int8`, `MatMulNBits:zero-points`."""
    types = {one.name: one.data_type for graph in graphs_of(model.graph) for one in graph.initializer}
    for node in nodes_of(model):
        yield node.op_type
        weights = (_TYPES[types[name]] for name in node.input[1:2] if types.get(name) in _TYPES)
        yield from (f"{node.op_type}:{kind}" for kind in weights)
        if node.op_type == "MatMulNBits" and any(node.input[_ZERO_POINTS : _ZERO_POINTS + 1]):
            yield "MatMulNBits:zero-points"
