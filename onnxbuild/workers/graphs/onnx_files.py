"""ONNX models in memory: loaded from folders of hard links, saved in the same bytes every time.

onnx 1.23 refuses external data whose file is a hard link or a symbolic link ("multiple hard links, indicating a
potential hardlink attack"), and every input here is a hard link into the store. So external tensors are read here,
with the one check that matters: their path stays inside the model's folder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from onnxbuild.protocol import CheckFailed

# A protobuf message ends at 2 GiB; the margin leaves room for what serializing adds to `ByteSize`.
EXTERNAL_FROM_BYTES = (2 << 30) - (64 << 20)

# What torch.export writes of a function that it met on its way: `<function sym_min at 0x7fed94d28400>`.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

# Tensors below this size stay in the graph, where shape inference and a reader can see them (the default of onnx).
_SMALLEST_EXTERNAL_BYTES = 1024


def load_model(path: Path) -> ModelProto:
    """The model at `path` with all its weights in memory.

    Errors: CheckFailed OBE41 where the file is no ONNX model, OBE40 where external data is missing, cut short or
    points outside the folder.
    """
    model = load_graph(path)
    for tensor in tensors_of(model.graph):
        if uses_external_data(tensor):
            read_external(tensor, path)
    return model


def load_graph(path: Path) -> ModelProto:
    """The model at `path` without its external weights: enough to count nodes and read shapes."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise _not_a_model(path) from error
    if not model.graph.node:
        raise _not_a_model(path)
    return model


def save_model(model: ModelProto, path: Path, *, external: bool = False) -> None:
    """Write `model` to `path`, its weights to `<name>.onnx_data` beside it where asked or where 2 GB is exceeded.

    Equal models give equal bytes: metadata is sorted, and stack traces, which hold paths of this machine, are dropped.
    `model` must not be used afterwards where its weights went to external data.
    """
    _make_reproducible(model)
    if not external and not exceeds_message(model):
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    onnx.save_model(
        model,
        path,
        save_as_external_data=True,
        location=f"{path.name}_data",
        size_threshold=_SMALLEST_EXTERNAL_BYTES,
    )


def save_graph(model: ModelProto, path: Path) -> None:
    """Write `model` as it is, in reproducible bytes: what is external stays a reference to a file beside `path`."""
    _make_reproducible(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def exceeds_message(model: ModelProto) -> bool:
    """Whether a model with its weights is too large for one message.

    By its shapes: protobuf's own `ByteSize` fails with an EncodeError beyond 2 GB, just where it would be needed.
    """
    stored = sum(weight_bytes(t) for t in tensors_of(model.graph) if not uses_external_data(t))
    return stored >= EXTERNAL_FROM_BYTES


def weight_bytes(tensor: TensorProto) -> int:
    """Bytes that a tensor's numbers take."""
    return int(math.prod(tensor.dims)) * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def has_external_data(path: Path) -> bool:
    """Whether the model at `path` keeps weights in another file."""
    return any(uses_external_data(tensor) for tensor in tensors_of(load_graph(path).graph))


def size_bytes(path: Path) -> int:
    """Bytes of a model with its external data."""
    return path.stat().st_size + sum(path.with_name(name).stat().st_size for name in external_files(path))


def external_files(path: Path) -> tuple[str, ...]:
    """Names of the files that hold the external data of the model at `path`, sorted."""
    tensors = (t for t in tensors_of(load_graph(path).graph) if uses_external_data(t))
    return tuple(sorted({ExternalDataInfo(tensor).location for tensor in tensors}))


def opset_of(model: ModelProto) -> int:
    """The version of the standard operators that a model is written in."""
    return next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)


def graphs_of(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all graphs inside it (branches of If, bodies of Loop), outermost first."""
    yield graph
    for node in graph.node:
        for inner in _graphs_in(node):
            yield from graphs_of(inner)


def nodes_of(model: ModelProto) -> Iterator[NodeProto]:
    """Every node of a model, those of inner graphs too."""
    return (node for graph in graphs_of(model.graph) for node in graph.node)


def names_read(node: NodeProto) -> Iterator[str]:
    """What a node reads: its inputs, and what its branches and bodies take from the graph around them."""
    yield from (name for name in node.input if name)
    yield from names_captured(node)


def names_captured(node: NodeProto) -> Iterator[str]:
    """What the branches and bodies of a node take from the graph around them."""
    for inner in _graphs_in(node):
        own = {name for one in inner.node for name in one.output}
        own |= {value.name for value in inner.input} | {tensor.name for tensor in inner.initializer}
        given = {value.name for value in inner.output}  # a branch may hand on what it did not make
        yield from (name for name in (*(n for one in inner.node for n in names_read(one)), *given) if name not in own)


def has_branches(node: NodeProto) -> bool:
    """Whether a node has graphs inside it."""
    return any(True for _ in _graphs_in(node))


def _graphs_in(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def replace_messages(field: Any, values: Iterable[Any]) -> None:
    """Let a repeated field hold copies of these messages, some of which may be its own."""
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(copies)


def tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    """Every stored tensor: initializers and constants, those of inner graphs too."""
    for inner in graphs_of(graph):
        yield from inner.initializer
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR:
                    yield attribute.t
                yield from attribute.tensors


def count_operators(model: ModelProto) -> dict[str, int]:
    """How many nodes of each type a model has, types in alphabetical order."""
    counts: dict[str, int] = {}
    for node in nodes_of(model):
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def read_external(tensor: TensorProto, model_path: Path) -> None:
    """Bring the content of an external tensor into the message. Errors: CheckFailed OBE40."""
    info = ExternalDataInfo(tensor)
    data = _external_path(info.location, model_path)
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


def _external_path(location: str, model_path: Path) -> Path:
    folder = model_path.parent.resolve()
    if Path(location).is_absolute() or not (folder / location).resolve().is_relative_to(folder):
        raise CheckFailed(
            "OBE40",
            f"{model_path.name}: external data `{location}` lies outside the model's folder",
            notes=[("hint", "only files beside the model are read; save it again with external data in its folder")],
        )
    path = model_path.parent / location
    if not path.is_file():
        raise CheckFailed(
            "OBE40",
            f"{model_path.name}: its external data `{location}` is missing",
            notes=[("hint", "an .onnx file and its data move as one: bring both, under their first names")],
        )
    return path


def _not_a_model(path: Path) -> CheckFailed:
    head = path.read_bytes()[:64] if path.is_file() else b""
    hint = "the file is damaged or something else: fetch it again"
    if head.startswith(b"version https://git-lfs"):
        hint = "it is a Git LFS pointer: run `git lfs pull` where it came from"
    elif head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        hint = "it is a web page: the download was refused, check the address and the token"
    return CheckFailed("OBE41", f"{path.name} is not an ONNX model", notes=[("hint", hint)])


def _make_reproducible(model: ModelProto) -> None:
    _tidy_metadata(model)
    for graph in graphs_of(model.graph):
        _tidy_metadata(graph)
        for value in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
            _tidy_metadata(value)


def _tidy_metadata(owner: Any) -> None:
    if owner.metadata_props:
        kept = sorted((p.key, _ADDRESS.sub("", p.value)) for p in owner.metadata_props if "stack_trace" not in p.key)
        del owner.metadata_props[:]
        for key, value in kept:
            owner.metadata_props.add(key=key, value=value)
    owner.ClearField("doc_string")
