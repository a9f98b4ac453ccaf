"""Graphs whose named dimensions have sizes, for compilers that take no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.graphs.walk import tensors_of

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16})
_OF_TOKENS = 2  # axes of an input of rows and tokens


def sizes_of(model: ModelProto, *, batch: int, sequence: int) -> dict[str, int]:
    """The size of each named dimension of the inputs: the first one is the rows, the second one the tokens.

    Errors: CheckFailed OBE238 for a free dimension without a name, for one name in both places, and for a dimension
    that the graph has fixed to another size.
    """
    held = {one.name for one in model.graph.initializer}
    sizes: dict[str, int] = {}
    for value in model.graph.input:
        if value.name not in held:
            dimensions = value.type.tensor_type.shape.dim
            for place, one in enumerate(dimensions):
                _check_named(one, value.name, place)
            for place, (one, size) in enumerate(zip(dimensions, (batch, sequence), strict=False)):
                if place == 0 or len(dimensions) == _OF_TOKENS:  # channels of pictures are no tokens
                    _check_size(one, size, value.name, place)
                if one.dim_param and sizes.setdefault(one.dim_param, size) != size:
                    what = f"`{value.name}` calls rows and tokens by one name, `{one.dim_param}`"
                    raise CheckFailed("OBE238", what, notes=[("hint", "give the dimensions two names")])
    return sizes


def _check_named(dimension: Any, name: str, place: int) -> None:
    if not dimension.HasField("dim_value") and not dimension.dim_param:
        what = f"dimension {place} of `{name}` has neither a size nor a name"
        raise CheckFailed("OBE238", what, notes=[("hint", "give the free dimensions of the graph names")])


def _check_size(dimension: Any, size: int, name: str, place: int) -> None:
    if dimension.HasField("dim_value") and dimension.dim_value != size:
        what = f"`{name}` has {dimension.dim_value} in dimension {place}, and the variant is to have {size}"
        field = ("batch", "sequence")[place]
        raise CheckFailed("OBE238", what, notes=[("hint", f"write `{field}: {dimension.dim_value}`")])


def with_sizes(model: ModelProto, sizes: Mapping[str, int]) -> ModelProto:
    """The graph with sizes in place of the names of dimensions, all shapes inferred. `model` is changed.

    Errors: CheckFailed OBE238 for a dimension without a size.
    """
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = _size(sizes, dimension.dim_param, value.name)
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _size(sizes: Mapping[str, int], dimension: str, name: str) -> int:
    if dimension not in sizes:
        message = f"`{name}` has the dimension `{dimension}`, which has no size"
        hint = "only graphs that take rows of tokens and return them can be compiled for one shape"
        raise CheckFailed("OBE238", message, notes=[("hint", hint)])
    return sizes[dimension]


# What is added to the scores of padding: exp(-50) is 2e-22. The exporters write the lowest float, and a range of
# integers that reaches it has no step left for anything else (a classifier: cosine 0.55 instead of 0.99).
MASKED = -50.0
_LOW = -1e4


def with_small_masks(model: ModelProto) -> ModelProto:
    """The graph with `MASKED` in place of the lowest floats and infinities of masks. `model` is changed."""
    for tensor in tensors_of(model):
        if tensor.data_type in _FLOATS:
            values = numpy_helper.to_array(tensor)
            if np.any(values <= _LOW):
                small = np.where(values <= _LOW, values.dtype.type(MASKED), values)
                tensor.CopyFrom(numpy_helper.from_array(small, tensor.name))
    return model
