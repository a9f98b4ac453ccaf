"""Quantizes a model of OpenVINO with NNCF."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from onnxbuild.steps.compiling.openvino_backend import OpenvinoParams
from onnxbuild.workers.calibrate.feeds import Feeds, calibrating


def quantized(model: Any, params: OpenvinoParams, feeds: Callable[[], Iterable[Feeds]]) -> Any:
    """The model with products in int8, or with weights in integers. `feeds`: what it is fed while it reads text."""
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    with redirect_stdout(StringIO()):  # tables and bars for a terminal
        if params.weights == "int8":
            return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
        if params.weights == "int4":
            mode = nncf.CompressWeightsMode.INT4_SYM
            return nncf.compress_weights(model, mode=mode, group_size=params.group_size, all_layers=False)
        with calibrating():
            return _products(model, params, [dict(one) for one in feeds()])


def _products(model: Any, params: OpenvinoParams, feeds: list[dict[str, Any]]) -> Any:
    import nncf

    return nncf.quantize(
        model,
        nncf.Dataset(feeds),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=min(params.samples, len(feeds)),
    )
