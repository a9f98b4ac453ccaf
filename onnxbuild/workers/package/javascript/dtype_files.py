"""The graphs of a package, each under the name of its dtype, with large weights in chunks beside it.

A page downloads each file into one array, which cannot hold 2 GB everywhere. So the weights of a larger graph go to
files of a limited size: `model.onnx_data`, `model.onnx_data_1` … The graph names them, and config.json says how many.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from onnx import ModelProto, TensorProto
from onnx.external_data_helper import convert_model_to_external_data, set_external_data

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.publishing.javascript_dtypes import MOST_CHUNKS, UNUSED_GRAPHS, file_name
from onnxbuild.workers.folders.model_files import copy_model_file, onnx_names
from onnxbuild.workers.folders.model_graphs import has_external_data, size_bytes
from onnxbuild.workers.graphs.graph_files import load_model
from onnxbuild.workers.graphs.reproducible import make_reproducible
from onnxbuild.workers.graphs.walk import tensors_of
from onnxbuild.workers.graphs.weights import weight_bytes
from onnxbuild.workers.package.javascript.cross_attentions import add_cross_attentions

_SMALLEST_EXTERNAL_BYTES = 1024  # as everywhere: shape inference reads the values of small tensors
MERGED = "decoder_model_merged.onnx"
_ALIGNMENT = 64  # bytes


def write_dtype(
    graphs: Path, destination: Path, dtype: str, chunk_bytes: int, *, attentions: bool = False
) -> dict[str, int]:
    """Write the graphs of one target below `destination`; returns for each file how many chunks of weights it has.

    `attentions`: a merged decoder also returns what it sees of a recording.

    Errors: CheckFailed OBE192 if the library does not load graphs of these names.
    """
    written = {}
    for name in loaded_graphs(graphs):
        target = destination / file_name(name, dtype)
        if attentions and name == MERGED:
            model = load_model(graphs / name)
            add_cross_attentions(model, graphs)
            written[target.name] = write_model(model, target, chunk_bytes)
        else:
            written[target.name] = _write_graph(graphs / name, target, chunk_bytes)
    return written


def loaded_graphs(graphs: Path) -> tuple[str, ...]:
    """The graphs that the library loads: of a decoder in parts, the merged one alone."""
    names = tuple(Path(name).name for name in onnx_names(graphs))
    wanted = tuple(name for name in names if name not in UNUSED_GRAPHS)
    if "encoder_model.onnx" in wanted and "decoder_model_merged.onnx" not in wanted:
        raise CheckFailed(
            "OBE192",
            "Transformers.js loads `decoder_model_merged.onnx`, and the target has the parts of the decoder alone",
            notes=[("hint", "export with the task's `-with-past` form; parts of more than 2 GB cannot be merged")],
        )
    if not wanted:
        raise CheckFailed("OBE192", f"Transformers.js loads none of these graphs: {', '.join(names)}", notes=[])
    return wanted


def _write_graph(source: Path, target: Path, chunk_bytes: int) -> int:
    is_large = size_bytes(source) > chunk_bytes
    if not is_large and not has_external_data(source):
        copy_model_file(source, target)
        return 0
    return _write_model(load_model(source), target, chunk_bytes if is_large else None)


def write_model(model: ModelProto, target: Path, chunk_bytes: int) -> int:
    """Write a graph, with its weights in chunks beside it if they exceed one; returns how many.

    Errors: CheckFailed OBE193 for more chunks than the library loads.
    """
    is_large = sum(weight_bytes(tensor) for tensor in tensors_of(model)) > chunk_bytes
    return _write_model(model, target, chunk_bytes if is_large else None)


def _write_model(model: ModelProto, target: Path, chunk_bytes: int | None) -> int:
    make_reproducible(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    chunks = 0 if chunk_bytes is None else _write_chunks(model, target, chunk_bytes)
    target.write_bytes(model.SerializeToString(deterministic=True))
    return chunks


def _write_chunks(model: ModelProto, target: Path, chunk_bytes: int) -> int:
    """Move the weights of a graph to files beside `target`; returns how many. Errors: CheckFailed OBE193."""
    convert_model_to_external_data(model, size_threshold=_SMALLEST_EXTERNAL_BYTES)  # puts all numbers into raw_data
    large = [tensor for tensor in tensors_of(model) if len(tensor.raw_data) >= _SMALLEST_EXTERNAL_BYTES]
    chunks = list(_chunked(large, chunk_bytes))
    if len(chunks) > MOST_CHUNKS:
        message = f"{target.name} has {len(chunks)} chunks of weights, and Transformers.js loads {MOST_CHUNKS}"
        raise CheckFailed("OBE193", message, notes=[("hint", "raise `chunk_bytes`")])
    for number, tensors in enumerate(chunks):
        path = target.with_name(f"{target.name}_data{f'_{number}' if number else ''}")
        with path.open("wb") as file:
            for tensor in tensors:
                _move(tensor, file, path.name)
    return len(chunks)


def _chunked(tensors: list[TensorProto], chunk_bytes: int) -> Iterator[list[TensorProto]]:
    """The tensors in their order, in groups that fit into one file; a larger tensor has a file of its own."""
    group: list[TensorProto] = []
    size = 0
    for tensor in tensors:
        needed = _aligned(len(tensor.raw_data))
        if group and size + needed > chunk_bytes:
            yield group
            group, size = [], 0
        group.append(tensor)
        size += needed
    if group:
        yield group


def _move(tensor: TensorProto, file: BinaryIO, location: str) -> None:
    file.write(b"\0" * (_aligned(file.tell()) - file.tell()))
    set_external_data(tensor, location, offset=file.tell(), length=len(tensor.raw_data))
    file.write(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
