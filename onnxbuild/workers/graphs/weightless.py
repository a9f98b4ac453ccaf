"""Changes graphs without reading their weights: external tensors stay in their file, which stays as it is.

A step that changes only the graph needs no more than the type and shape of a large weight. So each large weight becomes
an input of the graph while an optimizer works on it, and then refers to its file again. The file of weights is copied
byte for byte, and the store keeps it once. Measured in docs/explanation/big-models.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onnx import ModelProto, TensorProto, helper
from onnx.external_data_helper import uses_external_data

from onnxbuild.workers.folders.model_graphs import copy_data, external_files
from onnxbuild.workers.graphs.graph_files import load_graph, save_graph
from onnxbuild.workers.graphs.walk import graphs_of, tensors_of
from onnxbuild.workers.graphs.weights import read_external

# Fusions read small weights (scales, biases, lengths of rotary tables); they only pass large ones on.
_SMALL_BYTES = 1 << 20


def can_leave_weights(path: Path) -> bool:
    """Whether all external tensors of a model are in its outermost graph, so that they can become its inputs."""
    inner = list(graphs_of(load_graph(path).graph))[1:]
    return bool(external_files(path)) and not any(uses_external_data(t) for graph in inner for t in graph.initializer)


def change_graph(source: Path, destination: Path, scratch: Path, change: Callable[[Path], ModelProto]) -> ModelProto:
    """Run `change` on the graph at a path in `scratch`, and write the result next to a copy of the weights.

    `scratch` is an empty folder. Returns the result, in which large weights are references.
    """
    model = load_graph(source)
    weights, read = _take_out_weights(model, source)
    bare = scratch / source.name
    save_graph(model, bare)
    changed = change(bare)
    _put_back_weights(changed, weights, read)
    save_graph(changed, destination)
    copy_data(source, destination, graph=destination)
    return changed


def _take_out_weights(model: ModelProto, path: Path) -> tuple[dict[str, TensorProto], dict[str, bytes]]:
    """Turn the large external weights into inputs, and read the small ones.

    Returns the weights as they were, and the content of those that were read, by name.
    """
    graph = model.graph
    weights: dict[str, TensorProto] = {}
    read: dict[str, bytes] = {}
    for tensor in [t for t in graph.initializer if uses_external_data(t)]:
        weights[tensor.name] = TensorProto.FromString(tensor.SerializeToString())
        if _external_bytes(tensor) < _SMALL_BYTES:
            read_external(tensor, path)
            read[tensor.name] = tensor.raw_data
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    for tensor in tensors_of(model):  # the rest are constants of nodes, which exporters store there too
        if uses_external_data(tensor) and tensor.name not in weights:
            read_external(tensor, path)
    large = {value.name for value in graph.input}
    kept = [tensor for tensor in graph.initializer if tensor.name not in large]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return weights, read


def _put_back_weights(model: ModelProto, weights: dict[str, TensorProto], read: dict[str, bytes]) -> None:
    """Turn the inputs into weights again, and unchanged small weights into references to their file."""
    graph = model.graph
    used = {name for inner in graphs_of(graph) for node in inner.node for name in node.input}
    used |= {value.name for value in graph.output}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    own = [tensor for tensor in graph.initializer if tensor.raw_data != read.get(tensor.name)]
    theirs = {tensor.name for tensor in own}
    kept = [tensor for name, tensor in weights.items() if name in used and name not in theirs]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *own])


def _external_bytes(tensor: TensorProto) -> int:
    length = next((int(entry.value) for entry in tensor.external_data if entry.key == "length"), None)
    return _SMALL_BYTES if length is None else length
