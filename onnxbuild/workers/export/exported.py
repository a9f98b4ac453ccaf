"""What an exporter wrote: converted, put in order, and held to what was asked for."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from onnx import ModelProto

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.calibrate.observe import float_tensors
from onnxbuild.workers.engines.smoke_run import open_session
from onnxbuild.workers.folders.model_files import onnx_names
from onnxbuild.workers.graphs.graph_files import (
    external_files,
    has_external_data,
    load_graph,
    load_model,
    save_model,
    size_bytes,
)
from onnxbuild.workers.graphs.half import named, to_half
from onnxbuild.workers.graphs.walk import count_operators, opset_of
from onnxbuild.workers.model_folder.decoders import MERGED, merge, merged_name, settle_merged


def settle(root: Path, dtype: str) -> None:
    """Rewrite each graph below `root` in reproducible bytes, in half precision where asked.

    A merged decoder in half precision is merged anew from its parts, for its branches would stay as they are.
    """
    merged = merged_name(root) if dtype == "fp16" else None
    for name in onnx_names(root):
        if name != merged:
            _settle(root / name, dtype)
    if merged is not None:
        merge(root, merged)


def _settle(path: Path, dtype: str) -> None:
    external = has_external_data(path)
    if dtype == "fp32" and external:
        return  # its bytes are stable as they are, and rewriting gigabytes gains nothing
    model = load_model(path)
    if path.name == MERGED:
        settle_merged(model, model.ir_version)
    if dtype == "fp16":
        with TemporaryDirectory(prefix="onnxbuild-half-") as scratch:
            floats = float_tensors(named(model), Path(scratch))
        model = to_half(model, dtype, (), keep_io_types=True, floats=floats)
    for data in external_files(path):
        path.with_name(data).unlink()
    save_model(model, path, external=external)


def check_graph(path: Path, opset: int, *, standard: bool = True) -> dict[str, Any]:
    """Hold one graph to the checker, the opset, dynamic axes and the runtime; returns its facts.

    The checker knows the operators of the `standard` alone.
    """
    if standard:
        onnx.checker.check_model(str(path))
    graph = load_graph(path)
    if (found := opset_of(graph)) != opset:
        raise CheckFailed("OBE03", f"{path.name} has opset {found}, asked for was {opset}")
    _check_dynamic(path.name, graph)
    open_session(path)
    return {
        "nodes": sum(count_operators(graph).values()),
        "opset": found,
        "ir_version": graph.ir_version,
        "bytes": size_bytes(path),
    }


def _check_dynamic(name: str, model: ModelProto) -> None:
    """Every input must at least have a free batch axis: a frozen one passes all checks with the exporter's sample."""
    for value in model.graph.input:
        shape = value.type.tensor_type.shape
        if shape.dim and value.name != "use_cache_branch" and not shape.dim[0].dim_param:
            raise CheckFailed(
                "OBE39",
                f"{name}: the first axis of input `{value.name}` is fixed at {shape.dim[0].dim_value}",
                notes=[("hint", "the exporter froze it while tracing; report the model type to the exporter")],
            )
