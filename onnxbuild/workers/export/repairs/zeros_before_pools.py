"""Zeros around a picture before a maximum is taken, which ONNX Runtime takes for padding that no maximum sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from onnxbuild.workers.folders.model_files import onnx_names
from onnxbuild.workers.graphs.graph_files import load_graph, save_graph

_VALUE = 2  # the input of Pad that it pads with
_LEAST = np.float32(2**-24)  # the least number above zero that fp16 has too, so that a converted graph keeps it
_NAME = "zero_before_pool"


def keep_zeros_before_pools(root: Path) -> None:
    """Pad with the least number above zero where a Pad of zeros is read by a MaxPool, in the graphs below `root`.

    ONNX Runtime 1.31 moves such a Pad into the MaxPool, whose own padding is less than any number: where all numbers
    at an edge are negative, the maximum is one of them, and not the zero (BiT). It leaves every other value alone.
    """
    for name in onnx_names(root):
        model = load_graph(root / name)
        if changed := [node for node in model.graph.node if _pads_a_pool(node, model)]:
            model.graph.initializer.append(numpy_helper.from_array(np.array(_LEAST), _NAME))
            for node in changed:
                node.input[:] = [*node.input[:_VALUE], _NAME, *node.input[_VALUE + 1 :]]
            save_graph(model, root / name)


def _pads_a_pool(node: NodeProto, model: ModelProto) -> bool:
    if node.op_type != "Pad" or len(node.input) < _VALUE or not _pads_with_zeros(node, model):
        return False
    return any(reader.op_type == "MaxPool" and node.output[0] in reader.input for reader in model.graph.node)


def _pads_with_zeros(node: NodeProto, model: ModelProto) -> bool:
    mode = next((helper.get_attribute_value(one) for one in node.attribute if one.name == "mode"), b"constant")
    if mode != b"constant":
        return False
    value = node.input[_VALUE] if len(node.input) > _VALUE else ""
    stored = [one for one in model.graph.initializer if one.name == value]
    stored += [one.attribute[0].t for one in model.graph.node if one.op_type == "Constant" and one.output[0] == value]
    arrays = [numpy_helper.to_array(one) for one in stored]
    return not value or any(array.dtype == np.float32 and not array.any() for array in arrays)
