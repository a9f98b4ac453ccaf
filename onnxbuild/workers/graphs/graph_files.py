"""ONNX files: loaded from folders of hard links, saved in the same bytes every time.

onnx 1.23 refuses external data in a hard link or a symbolic link ("multiple hard links, indicating a potential
hardlink attack"), and every input here is a hard link into the store. So `weights.read_external` reads external
tensors, and checks only that their path stays inside the model's folder.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto
from onnx.external_data_helper import uses_external_data

from onnxbuild.workers.folders.model_graphs import not_a_model
from onnxbuild.workers.graphs.plain_form import take_weights_from_inputs
from onnxbuild.workers.graphs.reproducible import make_reproducible
from onnxbuild.workers.graphs.walk import tensors_of
from onnxbuild.workers.graphs.weights import read_external, weight_bytes

# A protobuf message ends at 2 GiB; the margin leaves room for what serializing adds to `ByteSize`.
EXTERNAL_FROM_BYTES = (2 << 30) - (64 << 20)

# Tensors below this size stay in the graph, where shape inference and a reader can see them (the default of onnx).
_SMALLEST_EXTERNAL_BYTES = 1024


def load_model(path: Path) -> ModelProto:
    """The model at `path` with all its weights in memory.

    Errors: CheckFailed OBE41 if the file is not an ONNX model, OBE40 if external data is missing, cut short or
    outside the folder.
    """
    model = load_graph(path)
    for tensor in tensors_of(model):
        if uses_external_data(tensor):
            read_external(tensor, path)
    return model


def load_graph(path: Path) -> ModelProto:
    """The model at `path` without its external weights: enough to count nodes and read shapes.

    No weight is also an input, as it is up to IR version 3.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise not_a_model(path) from error
    if not model.graph.node:
        raise not_a_model(path)
    take_weights_from_inputs(model)
    return model


def save_model(model: ModelProto, path: Path, *, external: bool = False) -> None:
    """Write `model` to `path`, with its weights in `<name>.onnx_data` if `external` is set or they exceed 2 GB.

    Equal models give equal bytes. `model` must not be used afterwards where its weights went to external data.
    """
    make_reproducible(model)
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
    """Write `model` in reproducible bytes; its external tensors keep referring to a file beside `path`."""
    make_reproducible(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def exceeds_message(model: ModelProto) -> bool:
    """Whether a model with its weights is too large for one protobuf message.

    Computed from shapes: protobuf's own `ByteSize` raises an EncodeError beyond 2 GB, exactly where it would be needed.
    """
    stored = sum(weight_bytes(t) for t in tensors_of(model) if not uses_external_data(t))
    return stored >= EXTERNAL_FROM_BYTES
