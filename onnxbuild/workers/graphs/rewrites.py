"""Rewrites of a graph that change its form and not its numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxbuild.workers.graphs.onnx_files import graphs_of, names_read, replace_messages

# Below this size a second copy of a tensor costs less than the reader's surprise at a shared one.
_WORTH_SHARING_BYTES = 1024


def gemm_to_matmul(model: ModelProto) -> int:
    """Turn each Gemm with a stored weight (alpha = beta = 1, A as it is) into MatMul and Add; returns how many.

    Quantizers look for MatMul: GPT-2's Conv1D layers are Gemm, and with them left in fp32 dynamic int8 decodes 24
    tokens a second instead of 73 (measured, 124M, one thread), with the same text.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    count = 0
    for graph in graphs_of(model.graph):
        here = {**weights, **{tensor.name: tensor for tensor in graph.initializer}}
        nodes: list[NodeProto] = []
        for node in graph.node:
            if _is_plain_gemm(node, here):
                nodes.extend(_matmul_and_add(node, _straight_weight(node, here, graph)))
                count += 1
            else:
                nodes.append(node)
        replace_nodes(graph, nodes)
    return count


def fold_transposed_weights(model: ModelProto) -> int:
    """Store a weight transposed where a MatMul reads it through a Transpose; returns how many.

    Tied embeddings are exported as one tensor and a Transpose for the head. A quantizer passes over a MatMul whose
    second input is computed, which leaves the largest one of a small language model in fp32.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    count = 0
    for graph in graphs_of(model.graph):
        read_by_matmul = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
        kept: list[NodeProto] = []
        for node in graph.node:
            source = weights.get(node.input[0]) if _is_matrix_transpose(node) else None
            if source is None or len(source.dims) != 2 or node.output[0] not in read_by_matmul:  # noqa: PLR2004
                kept.append(node)
                continue
            array = np.ascontiguousarray(numpy_helper.to_array(source).T)
            graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
            count += 1
        replace_nodes(graph, kept)
    if count:
        drop_unused_weights(model)
    return count


def tie_transposed_weights(model: ModelProto) -> int:
    """Undo the fold: a weight that is another one transposed becomes a Transpose of it; returns bytes saved.

    ONNX Runtime folds it again when it loads the model, so nothing is slower, and the file does not hold it twice
    (GPT-2 124M after O2: 498 instead of 652 MB).
    """
    graph = model.graph
    matrices = [t for t in graph.initializer if len(t.dims) == 2 and _bytes_of(t) >= _WORTH_SHARING_BYTES]  # noqa: PLR2004
    by_digest = {_digest(numpy_helper.to_array(tensor)): tensor for tensor in matrices}
    saved, nodes, gone = 0, list[NodeProto](), set[str]()
    shapes = {tuple(tensor.dims) for tensor in matrices}
    for tensor in matrices:
        if tensor.name in gone or (tensor.dims[1], tensor.dims[0]) not in shapes:
            continue
        twin = by_digest.get(_digest(np.ascontiguousarray(numpy_helper.to_array(tensor).T)))
        if twin is None or twin.name == tensor.name or twin.name in gone:
            continue
        big, small = (twin, tensor) if _is_gathered(graph, twin.name) else (tensor, twin)
        nodes.append(helper.make_node("Transpose", [big.name], [small.name], name=f"{small.name}_tied", perm=[1, 0]))
        gone.add(small.name)
        saved += _bytes_of(small)
    if nodes:
        _keep_weights(graph, lambda tensor: tensor.name not in gone)
        replace_nodes(graph, [*nodes, *graph.node])
    return saved


def share_equal_weights(model: ModelProto) -> int:
    """Keep one of several weights with equal type, shape and content; returns bytes saved."""
    graph = model.graph
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    renamed: dict[str, str] = {}
    saved = 0
    outputs = {value.name for value in graph.output}
    for tensor in graph.initializer:
        if _bytes_of(tensor) < _WORTH_SHARING_BYTES or tensor.name in outputs:
            continue
        if (original := first.setdefault(content_of(tensor), tensor.name)) != tensor.name:
            renamed[tensor.name] = original
            saved += _bytes_of(tensor)
    if renamed:
        rename_inputs(model, renamed)
        _keep_weights(graph, lambda tensor: tensor.name not in renamed)
    return saved


def name_weights_by_use(model: ModelProto) -> None:
    """Name each outermost weight after the first node that reads it, and the place where it does."""
    stored = {tensor.name for tensor in model.graph.initializer}
    renamed: dict[str, str] = {}
    taken: set[str] = set()
    for graph in graphs_of(model.graph):
        for number, node in enumerate(graph.node):
            for index, name in enumerate(node.input):
                if name in stored and name not in renamed:
                    # Nodes of two branches may bear one name.
                    use = next(n for n in _numbered(f"{node.name or number}.{index}") if n not in taken)
                    taken.add(use)
                    renamed[name] = use
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    rename_inputs(model, renamed)


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(1))


def drop_unused_weights(model: ModelProto) -> None:
    """Remove what no node reads, and all but the first of weights that bear one name (quantizers write such)."""
    used = {name for graph in graphs_of(model.graph) for node in graph.node for name in node.input}
    for graph in graphs_of(model.graph):
        needed = used | {value.name for value in graph.output}
        seen: set[str] = set()

        def is_first_use(tensor: TensorProto, needed: set[str] = needed, seen: set[str] = seen) -> bool:
            fresh = tensor.name in needed and tensor.name not in seen
            seen.add(tensor.name)
            return fresh

        _keep_weights(graph, is_first_use)


def declare_own_operators(model: ModelProto) -> None:
    """Name the domain of ONNX Runtime's operators, which whoever adds one may not have said."""
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
    """Bring the nodes into an order in which each stands after what it reads."""
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


def rename_inputs(model: ModelProto, renamed: Mapping[str, str]) -> None:
    """Let every node that reads a name read another one; nodes of inner graphs too."""
    for graph in graphs_of(model.graph):
        for node in graph.node:
            for index, name in enumerate(node.input):
                if name in renamed:
                    node.input[index] = renamed[name]


def content_of(tensor: TensorProto) -> tuple[int, tuple[int, ...], bytes]:
    """What makes two weights equal: type, shape, and the digest of their numbers."""
    return tensor.data_type, tuple(tensor.dims), _digest(numpy_helper.to_array(tensor))


def _is_plain_gemm(node: NodeProto, weights: Mapping[str, TensorProto]) -> bool:
    if node.op_type != "Gemm" or node.input[1] not in weights:
        return False
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return (attributes.get("alpha", 1.0), attributes.get("beta", 1.0), attributes.get("transA", 0)) == (1.0, 1.0, 0)


def _straight_weight(node: NodeProto, weights: Mapping[str, TensorProto], graph: GraphProto) -> str:
    """The name of the weight as MatMul wants it; a transposed copy where Gemm reads it with transB."""
    if not any(a.name == "transB" and a.i for a in node.attribute):
        return str(node.input[1])
    name = f"{node.input[1]}_transposed"
    if not any(tensor.name == name for tensor in graph.initializer):
        array = np.ascontiguousarray(numpy_helper.to_array(weights[node.input[1]]).T)
        graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def _matmul_and_add(node: NodeProto, weight: str) -> Iterator[NodeProto]:
    output, name = node.output[0], node.name or node.output[0]
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else ""  # noqa: PLR2004 - Gemm's third input is C
    product = f"{output}_product" if bias else output
    # The MatMul keeps the node's name, so that an `exclude` written for the Gemm still finds it.
    yield helper.make_node("MatMul", [node.input[0], weight], [product], name=name)
    if bias:
        yield helper.make_node("Add", [product, bias], [output], name=f"{name}_bias")


def _is_matrix_transpose(node: NodeProto) -> bool:
    if node.op_type != "Transpose":
        return False
    perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [1, 0])
    return perm == [1, 0]


def _is_gathered(graph: GraphProto, name: str) -> bool:
    """Whether a Gather reads the weight: an embedding keeps its form, the head gets the Transpose."""
    return any(node.op_type == "Gather" and node.input[0] == name for node in graph.node)


def replace_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    """Let these be a graph's nodes, new ones and some of its own."""
    replace_messages(graph.node, nodes)


def _keep_weights(graph: GraphProto, keep: Callable[[TensorProto], bool]) -> None:
    unwanted = [index for index, tensor in enumerate(graph.initializer) if not keep(tensor)]
    for index in reversed(unwanted):
        del graph.initializer[index]


def _digest(array: np.ndarray) -> bytes:
    return blake2b(array.tobytes(), digest_size=16).digest() + repr((array.dtype, array.shape)).encode()


def _bytes_of(tensor: TensorProto) -> int:
    return int(math.prod(tensor.dims)) * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
