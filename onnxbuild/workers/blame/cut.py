"""A graph cut at some of its tensors, so that each node can be fed the values that another graph computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, helper

_GIVEN = "onnxbuild_given_"


Types = Mapping[str, "np.dtype[Any]"]


def cut(model: ModelProto, tensors: Iterable[str], types: Types, axes: Mapping[str, int]) -> ModelProto:
    """A copy whose nodes read each of these tensors from an input, and not from the node that computes it."""
    parted = ModelProto()
    parted.CopyFrom(model)
    given = set(tensors)
    for node in parted.graph.node:
        for place, name in enumerate(node.input):
            if name in given:
                node.input[place] = _GIVEN + name
    for number, name in enumerate(sorted(given)):
        shape = [f"onnxbuild_{number}_{axis}" for axis in range(axes[name])]
        kind = helper.np_dtype_to_tensor_dtype(types[name])
        parted.graph.input.append(helper.make_tensor_value_info(_GIVEN + name, kind, shape))
    return parted


def given(values: Mapping[str, np.ndarray], types: Types) -> dict[str, np.ndarray]:
    """Values of tensors as inputs of a graph that was cut at them, in its types."""
    return {_GIVEN + name: np.asarray(value, dtype=types[name]) for name, value in values.items()}
