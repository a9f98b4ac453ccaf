"""Graphs of QEfficient in ONNX Runtime: what the card skips goes to a slot that nothing reads.

QEfficient marks padding by the index 2147483647, which the card skips, and ONNX Runtime refuses; or by -1, which is the
last slot. So the double's cache has one slot more than the program's, the last one, and the index becomes -1. The mask
of the graph hides that slot: it is behind every token.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from onnxbuild.workers.graphs.graph_files import load_graph, load_model, save_model
from onnxbuild.workers.graphs.walk import tensors_of

_SKIPPED = np.iinfo(np.int32).max
_DOMAIN = "com.qualcomm.cloud"  # of QEfficient's operators, which come with their definitions


def marks_padding_by_index(graph: Path) -> bool:
    """Whether a graph is one of QEfficient's with a cache."""
    return any(one.domain == _DOMAIN for one in load_graph(graph).functions)


def rewrite(graph: Path, destination: Path) -> None:
    """Write the graph with -1 in place of the index that the card skips."""
    model = load_model(graph)
    for tensor in tensors_of(model):
        if tensor.data_type in {TensorProto.INT32, TensorProto.INT64}:
            _replace(tensor)
    save_model(model, destination)


def _replace(tensor: onnx.TensorProto) -> None:
    values = numpy_helper.to_array(tensor)
    if (values == _SKIPPED).any():
        changed = np.where(values == _SKIPPED, -1, values).astype(values.dtype)
        tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
