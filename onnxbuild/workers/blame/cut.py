"""A graph cut at the tensors that it shares with another one, so that each node can be fed the other one's values."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from onnx import ModelProto, helper
from onnx.helper import np_dtype_to_tensor_dtype

from onnxbuild.workers.calibrate.feeds import Feeds

_OTHERS = "onnxbuild_other_"


def cut(model: ModelProto, tensors: Collection[str], example: Feeds) -> ModelProto:
    """A copy whose nodes read each of these tensors from an input instead of from the node that computes it.

    `example` holds a value of each tensor, for its type and its number of axes.
    """
    parted = ModelProto()
    parted.CopyFrom(model)
    for node in parted.graph.node:
        for place, name in enumerate(node.input):
            if name in tensors:
                node.input[place] = _OTHERS + name
    for name in tensors:
        value = example[name]
        kind = np_dtype_to_tensor_dtype(value.dtype)
        axes = [f"{name}_{number}" for number in range(value.ndim)]
        parted.graph.input.append(helper.make_tensor_value_info(_OTHERS + name, kind, axes))
    return parted


def fed(values: Feeds, inputs: Feeds) -> Mapping[str, object]:
    """The values of tensors as inputs of a graph that was cut, beside its own inputs."""
    return {**inputs, **{_OTHERS + name: value for name, value in values.items()}}
