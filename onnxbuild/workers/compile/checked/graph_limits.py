"""Whether a graph keeps the limits of a runtime: opset, operators, types, and the zero points of its integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.runtimes.runtime_limits import RuntimeLimits
from onnxbuild.workers.graphs.walk import nodes_of, opset_of

_OWN = frozenset({"", "ai.onnx", "com.microsoft"})
_POINTS = {"QuantizeLinear": 2, "DequantizeLinear": 2}


def check_limits(model: ModelProto, limits: RuntimeLimits, name: str) -> dict[str, int]:
    """The operators that the device does not compute, counted: they run on the CPU beside it.

    Errors: CheckFailed OBE253 for an opset, OBE252 for an operator or type, OBE254 for integers that it does not take.
    """
    if opset_of(model) > limits.opset:
        message = f"`{name}` has opset {opset_of(model)}, and {limits.version} reads up to {limits.opset}"
        raise CheckFailed("OBE253", message, notes=[("hint", f"write `export: {{opset: {limits.opset}}}`")])
    counts = Counter(node.op_type for node in nodes_of(model) if node.domain in _OWN)
    _refuse(f"`{name}` has {_listed(counts, limits.refused)}", counts.keys() & limits.refused, limits)
    types = _types(model)
    _refuse(
        f"`{name}` has values of type {', '.join(sorted(types & limits.no_types))}", types & limits.no_types, limits
    )
    if limits.integers != "any":
        _check_integers(model, limits, name)
    absent = () if limits.operators is None else counts.keys() - limits.operators
    return {one: counts[one] for one in sorted(absent)}


def _refuse(message: str, found: Iterable[str], limits: RuntimeLimits) -> None:
    if set(found):
        notes = [("hint", "start from the fp32 graph, or choose another backend"), ("source", limits.source)]
        raise CheckFailed("OBE252", f"{message}, which {limits.version} does not take", notes=notes)


def _listed(counts: Mapping[str, int], names: Iterable[str]) -> str:
    return ", ".join(f"{counts[one]} × {one}" for one in sorted(names) if counts.get(one))


def _types(model: ModelProto) -> set[str]:
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    numbers = {one.type.tensor_type.elem_type for one in values} | {one.data_type for one in model.graph.initializer}
    return {onnx.helper.tensor_dtype_to_np_dtype(one).name for one in numbers if one}


def _check_integers(model: ModelProto, limits: RuntimeLimits, name: str) -> None:
    """OBE254 for integers where the runtime takes none, or for zero points that are not 0."""
    quantized = [node for node in nodes_of(model) if node.op_type in _POINTS]
    if limits.integers == "none" and quantized:
        message = f"`{name}` has {len(quantized)} × QuantizeLinear and DequantizeLinear, and {limits.version} has none"
        raise CheckFailed(
            "OBE254", message, notes=[("hint", "compile the fp32 or fp16 graph"), ("source", limits.source)]
        )
    shifted = list(_shifted(model, quantized)) if quantized else []
    if shifted:
        message = f"`{name}` has {len(shifted)} zero points that are not 0, such as `{shifted[0]}`"
        notes = [("hint", "`precision: int8` of the backend writes a graph without"), ("source", limits.source)]
        raise CheckFailed("OBE254", message, notes=notes)


def _shifted(model: ModelProto, nodes: Iterable[Any]) -> Iterator[str]:
    """The zero points that are not 0, or not of int8: uint8 has no symmetric range."""
    held = {one.name: one for one in model.graph.initializer}
    names = {node.input[_POINTS[node.op_type]] for node in nodes if len(node.input) > _POINTS[node.op_type]}
    for name in sorted(names & held.keys()):
        value = numpy_helper.to_array(held[name])
        if np.any(value.astype(np.int64)) or value.dtype in {np.dtype(np.uint8), np.dtype(np.uint16)}:
            yield name
