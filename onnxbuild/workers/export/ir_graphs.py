"""Writes graphs that an exporter hands over in memory, as onnx_ir has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnxbuild.workers.graphs.graph_files import EXTERNAL_FROM_BYTES, save_model


def write_graph(model: Any, path: Path) -> None:
    """Save in the form that all exporters use: weights inside the file up to 2 GB, in a second file from there on."""
    import onnx_ir

    weights = (value.const_value for value in model.graph.initializers.values())
    if sum(tensor.nbytes for tensor in weights if tensor is not None) < EXTERNAL_FROM_BYTES:
        save_model(onnx_ir.to_proto(model), path)
    else:
        onnx_ir.save(model, path, external_data=f"{path.name}_data")
