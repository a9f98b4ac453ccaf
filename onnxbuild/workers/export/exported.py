"""The files that an exporter wrote: rewritten in reproducible bytes, converted, and checked."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from onnx import ModelProto

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.calibrate.observe import float_tensors
from onnxbuild.workers.engines.smoke_run import open_for_check
from onnxbuild.workers.folders.model_files import onnx_names
from onnxbuild.workers.folders.model_graphs import external_files, has_external_data, size_bytes
from onnxbuild.workers.graphs.angles.angle_paths import keep_angles
from onnxbuild.workers.graphs.graph_files import load_graph, load_model, save_model
from onnxbuild.workers.graphs.half import named, to_half
from onnxbuild.workers.graphs.walk import count_operators, opset_of
from onnxbuild.workers.model_folder.decoders import MERGED, merge, merged_name, settle_merged


def settle(root: Path, dtype: str) -> None:
    """Rewrite each graph below `root` in reproducible bytes, and in half precision if `dtype` is fp16.

    In half precision a merged decoder is rebuilt from its parts, because the conversion leaves branches unchanged.
    """
    merged = merged_name(root) if dtype == "fp16" else None
    for name in onnx_names(root):
        if name != merged:
            _settle(root, root / name, dtype)
    if merged is not None:
        merge(root, merged)


def _settle(root: Path, path: Path, dtype: str) -> None:
    external = has_external_data(path)
    if dtype == "fp32" and external:
        return  # its bytes are reproducible already, and rewriting gigabytes gains nothing
    model = load_model(path)
    if path.name == MERGED:
        settle_merged(model, model.ir_version)
    if dtype == "fp16":
        with TemporaryDirectory(prefix="onnxbuild-half-") as scratch:
            angles = keep_angles(named(model))
            floats = float_tensors(model, Path(scratch))
        model = to_half(model, dtype, (), keep_io_types=True, floats=floats, angles=angles)
    for data in _own_data(root, path):
        data.unlink()
    save_model(model, path, external=external)


def _own_data(root: Path, path: Path) -> set[Path]:
    """The files of weights of a graph that no other graph below `root` shares."""
    others = {
        (root / name).parent / data
        for name in onnx_names(root)
        if root / name != path
        for data in external_files(root / name)
    }
    return {path.parent / data for data in external_files(path)} - others


def check_graph(path: Path, opset: int, *, standard: bool = True) -> dict[str, Any]:
    """Check one graph: onnx's checker, the opset, dynamic axes, and whether it loads; returns its facts.

    onnx's checker knows only the operators of the `standard`.
    """
    if standard:
        onnx.checker.check_model(str(path))
    graph = load_graph(path)
    actual = opset_of(graph)
    if actual != opset:
        raise CheckFailed("OBE03", f"{path.name} has opset {actual}, but opset {opset} was requested")
    _check_dynamic(path.name, graph)
    open_for_check(path)
    return {
        "nodes": sum(count_operators(graph).values()),
        "opset": actual,
        "ir_version": graph.ir_version,
        "bytes": size_bytes(path),
    }


def _check_dynamic(name: str, model: ModelProto) -> None:
    """Every input needs a dynamic batch axis: a fixed one passes all other checks, with the exporter's sample."""
    for value in model.graph.input:
        shape = value.type.tensor_type.shape
        if shape.dim and value.name != "use_cache_branch" and not shape.dim[0].dim_param:
            raise CheckFailed(
                "OBE39",
                f"{name}: the first axis of input `{value.name}` is fixed at {shape.dim[0].dim_value}",
                notes=[("hint", "the exporter fixed it while tracing; report the model type to its project")],
            )
