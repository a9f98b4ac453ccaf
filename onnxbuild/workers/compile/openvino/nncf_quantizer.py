"""Quantizes a model of OpenVINO with NNCF."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

from onnxbuild.steps.compiling.openvino_backend import OpenvinoParams
from onnxbuild.workers.calibrate.feeds import Feeds, calibrating

_CI = "CI"


def quantized(model: Any, params: OpenvinoParams, feeds: Callable[[], Iterable[Feeds]]) -> Any:
    """The model with products in int8, or with weights in integers. `feeds`: what it is fed while it reads text."""
    with _no_telemetry():
        return _quantized(model, params, feeds)


def _quantized(model: Any, params: OpenvinoParams, feeds: Callable[[], Iterable[Feeds]]) -> Any:
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


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """NNCF reports its use over the network, except where it takes its surroundings for continuous integration."""
    before = os.environ.get(_CI)
    os.environ[_CI] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CI]
        else:
            os.environ[_CI] = before


def _products(model: Any, params: OpenvinoParams, feeds: list[dict[str, Any]]) -> Any:
    import nncf

    return nncf.quantize(
        model,
        nncf.Dataset(feeds),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=min(params.samples, len(feeds)),
    )
