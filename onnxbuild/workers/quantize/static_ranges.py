"""Static quantization: the ranges of tensors, measured on data, and the model quantized with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.quantize import QuantizeParams, lowest_opset, raise_opset, why_opset_too_low
from onnxbuild.workers.calibrate.clip import clipped_by_entropy, clipped_by_percentile
from onnxbuild.workers.calibrate.feeds import Counted, Feeds, calibrating
from onnxbuild.workers.calibrate.observe import Range, float_tensors, histograms, ranges
from onnxbuild.workers.graphs.walk import opset_of
from onnxbuild.workers.quantize.quantizers import quantize_static, without_weight


def quantize_with_ranges(
    model: ModelProto, scratch: Path, params: QuantizeParams, feeds: Callable[[], Iterable[Feeds]]
) -> tuple[ModelProto, dict[str, Any]]:
    """The model with ranges from the data, and from how many samples and of how many tensors they were taken.

    Errors: CheckFailed OBE58 for a dataset without text, OBE87 if QuantizeLinear is not in the graph's opset.
    """
    _check_opset(model, params)
    operators = params.operators or ("MatMul",)
    tensors = _observed_tensors(model, scratch, operators, params)
    limits, samples = _limits(model, tensors, scratch, params, feeds)
    facts = {"calibration": {"method": params.calibration, "samples": samples, "tensors": len(limits)}}
    return quantize_static(model, limits, operators, params), facts


def _check_opset(model: ModelProto, params: QuantizeParams) -> None:
    opset = opset_of(model)
    if opset < lowest_opset(params):
        hint = f"{raise_opset(params, opset, of_source=False)}; a graph of your own: `onnx.version_converter`"
        raise CheckFailed("OBE87", why_opset_too_low(params, opset), notes=[("hint", hint)])


def _observed_tensors(
    model: ModelProto, scratch: Path, operators: Collection[str], params: QuantizeParams
) -> list[str]:
    """The fp32 values that the nodes to quantize read or compute."""
    stored = {tensor.name for tensor in model.graph.initializer}
    excluded = {*params.exclude, *without_weight(model)}
    nodes = [n for n in model.graph.node if n.op_type in operators and n.name not in excluded]
    floats = set(float_tensors(model, scratch)) - stored
    return sorted({name for n in nodes for name in (*n.input, *n.output)} & floats)


def _limits(
    model: ModelProto,
    tensors: Collection[str],
    scratch: Path,
    params: QuantizeParams,
    feeds: Callable[[], Iterable[Feeds]],
) -> tuple[dict[str, Range], int]:
    """The range of each tensor by the calibration of the params, and the number of samples read."""
    counted = Counted(feeds())
    with calibrating():
        limits = ranges(model, tensors, counted, scratch)
        if not counted.count:
            raise CheckFailed("OBE58", "the dataset gives no text", notes=[("hint", "see its `columns` and `limit`")])
        if params.calibration == "minmax":
            return limits, counted.count
        counts = histograms(model, limits, feeds(), scratch)
    return {name: _clipped(limits[name], counts[name], params) for name in limits}, counted.count


def _clipped(limits: Range, counts: np.ndarray, params: QuantizeParams) -> Range:
    if params.calibration == "entropy":
        return clipped_by_entropy(limits, counts)
    return clipped_by_percentile(limits, counts, params.percentile)
