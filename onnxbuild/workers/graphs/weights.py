"""Stored weights: reading external ones, and sharing, tying, naming and dropping them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.folders.model_graphs import data_file
from onnxbuild.workers.graphs.nodes import rename_inputs, replace_nodes
from onnxbuild.workers.graphs.walk import graphs_of

Content = tuple[int, tuple[int, ...], bytes]

_MATRIX = 2  # axes

# Below this size, sharing a tensor saves less than it costs a reader to find out why two nodes share it.
_WORTH_SHARING_BYTES = 1024


def weight_bytes(tensor: TensorProto) -> int:
    """Bytes that the numbers of a tensor take."""
    return int(math.prod(tensor.dims)) * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def content_of(tensor: TensorProto) -> Content:
    """What makes two weights equal: type, shape, and the digest of their numbers."""
    return tensor.data_type, tuple(tensor.dims), _digest(numpy_helper.to_array(tensor))


def read_external(tensor: TensorProto, model_path: Path) -> None:
    """Read the content of an external tensor into the message. Errors: CheckFailed OBE40."""
    info = ExternalDataInfo(tensor)
    data = data_file(model_path, info.location)
    with data.open("rb") as file:
        file.seek(info.offset or 0)
        tensor.raw_data = file.read(info.length or -1)
    if info.length and len(tensor.raw_data) != info.length:
        raise CheckFailed(
            "OBE40",
            f"{model_path.name}: `{info.location}` ends before the tensor `{tensor.name}` does",
            notes=[("hint", "the file was cut short: fetch or export the model again")],
        )
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.DEFAULT


def share_equal_weights(model: ModelProto) -> int:
    """Keep one of several weights with equal type, shape and content; returns bytes saved."""
    graph = model.graph
    first: dict[Content, str] = {}
    renamed: dict[str, str] = {}
    saved = 0
    outputs = {value.name for value in graph.output}
    for tensor in graph.initializer:
        if weight_bytes(tensor) < _WORTH_SHARING_BYTES or tensor.name in outputs:
            continue
        original = first.setdefault(content_of(tensor), tensor.name)
        if original != tensor.name:
            renamed[tensor.name] = original
            saved += weight_bytes(tensor)
    if renamed:
        rename_inputs(model, renamed)
        _keep_weights(graph, lambda tensor: tensor.name not in renamed)
    return saved


def tie_transposed_weights(model: ModelProto) -> int:
    """Replace a weight that is another one transposed by a Transpose of that one; returns bytes saved.

    ONNX Runtime folds the Transpose when it loads the model, so nothing is slower, and the file stores the weight once
    (GPT-2 124M after O2: 498 instead of 652 MB).
    """
    graph = model.graph
    saved = 0
    nodes: list[NodeProto] = []
    removed: set[str] = set()
    for kept, dropped in _transposed_pairs(graph):
        if kept.name not in removed and dropped.name not in removed:
            name = dropped.name
            nodes.append(helper.make_node("Transpose", [kept.name], [name], name=f"{name}_tied", perm=[1, 0]))
            removed.add(name)
            saved += weight_bytes(dropped)
    if nodes:
        _keep_weights(graph, lambda tensor: tensor.name not in removed)
        replace_nodes(graph, [*nodes, *graph.node])
    return saved


def _transposed_pairs(graph: GraphProto) -> Iterator[tuple[TensorProto, TensorProto]]:
    """Each matrix with the one that is its transpose; the first of a pair is the one to keep."""
    matrices = [t for t in graph.initializer if len(t.dims) == _MATRIX and weight_bytes(t) >= _WORTH_SHARING_BYTES]
    by_digest = {_digest(numpy_helper.to_array(tensor)): tensor for tensor in matrices}
    shapes = {tuple(tensor.dims) for tensor in matrices}
    for tensor in matrices:
        if (tensor.dims[1], tensor.dims[0]) not in shapes:
            continue
        twin = by_digest.get(_digest(np.ascontiguousarray(numpy_helper.to_array(tensor).T)))
        if twin is not None and twin.name != tensor.name:
            yield (twin, tensor) if _is_gathered(graph, twin.name) else (tensor, twin)


def _is_gathered(graph: GraphProto, name: str) -> bool:
    """Whether a Gather reads the weight: the embedding keeps its form, and the head gets the Transpose."""
    return any(node.op_type == "Gather" and node.input[0] == name for node in graph.node)


def name_weights_by_use(model: ModelProto) -> None:
    """Name each weight of the main graph after the first node that reads it, and the input where it does."""
    stored = {tensor.name for tensor in model.graph.initializer}
    renamed: dict[str, str] = {}
    taken: set[str] = set()
    for name, use in _uses(model):
        if name in stored and name not in renamed:
            # Nodes of two branches may have the same name.
            free = next(candidate for candidate in _numbered(use) if candidate not in taken)
            taken.add(free)
            renamed[name] = free
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    rename_inputs(model, renamed)


def _uses(model: ModelProto) -> Iterator[tuple[str, str]]:
    """Every input of every node with a name for its place: `/layer/MatMul.1`."""
    for graph in graphs_of(model.graph):
        for number, node in enumerate(graph.node):
            for index, name in enumerate(node.input):
                yield name, f"{node.name or number}.{index}"


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(1))


def drop_unused_weights(model: ModelProto) -> None:
    """Remove weights that no node reads, and all but the first of those with one name, as quantizers write them."""
    used = {name for graph in graphs_of(model.graph) for node in graph.node for name in node.input}
    for graph in graphs_of(model.graph):
        needed = used | {value.name for value in graph.output}
        seen: set[str] = set()

        def is_first_use(tensor: TensorProto, needed: set[str] = needed, seen: set[str] = seen) -> bool:
            fresh = tensor.name in needed and tensor.name not in seen
            seen.add(tensor.name)
            return fresh

        _keep_weights(graph, is_first_use)


def _keep_weights(graph: GraphProto, keep: Callable[[TensorProto], bool]) -> None:
    unwanted = [index for index, tensor in enumerate(graph.initializer) if not keep(tensor)]
    for index in reversed(unwanted):
        del graph.initializer[index]


def _digest(array: np.ndarray) -> bytes:
    return blake2b(array.tobytes(), digest_size=16).digest() + repr((array.dtype, array.shape)).encode()
