"""QDQ graphs for accelerators: every operator between QuantizeLinear and DequantizeLinear, ranges from data."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, StaticQuantConfig, quantize
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config, qnn_preprocess_model

from onnxbuild.protocol import CheckFailed

Precision = Literal["a16w8", "a8w8"]
Feeds = Mapping[str, np.ndarray]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds as the quantizer reads them: one after the other, and none at the end."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        self.count = 0
        self._feeds = iter(feeds)

    def get_next(self) -> Feeds | None:
        fed = next(self._feeds, None)
        self.count += fed is not None
        return fed


def integers_of_htp(graph: Path, place: Path, feeds: Iterable[Feeds], *, precision: Precision) -> int:
    """Write the graph with the integers that Qualcomm's HTP takes; the number of samples read.

    Errors: CheckFailed OBE58 for a dataset without text.
    """
    prepared = place.with_name("prepared.onnx")
    reader = _Reader(feeds)
    with _quietly():
        changed = qnn_preprocess_model(str(graph), str(prepared))
        source = prepared if changed else graph
        activations = QuantType.QUInt16 if precision == "a16w8" else QuantType.QUInt8
        # One scale per channel: MiniLM has a mean cosine of 0.998 instead of 0.983 at 16 and 8 bits.
        config = get_qnn_qdq_config(
            str(source), reader, activation_type=activations, weight_type=QuantType.QUInt8, per_channel=True
        )
        quantize(str(source), str(place), config)
    prepared.unlink(missing_ok=True)
    return _read(reader)


def symmetric_integers(graph: Path, place: Path, feeds: Iterable[Feeds]) -> int:
    """Write the graph with int8 whose zero points are 0, in every product and convolution; the number of samples read.

    TensorRT takes no other integers, and computes bias and everything else in float.
    Errors: CheckFailed OBE58 for a dataset without text.
    """
    reader = _Reader(feeds)
    extra: dict[str, Any] = {
        "ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False, "DedicatedQDQPair": True,
        "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm", "Conv"], "MatMulConstBOnly": True,
    }  # fmt: skip
    config = StaticQuantConfig(
        reader, quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm", "Conv"], per_channel=True, extra_options=extra,
    )  # fmt: skip
    with _quietly():
        quantize(str(graph), str(place), config)
    return _read(reader)


def _read(reader: _Reader) -> int:
    if not reader.count:
        raise CheckFailed("OBE58", "the dataset gives no text", notes=[("hint", "see its `columns` and `limit`")])
    return reader.count


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the advice to prepare the graph, which has been prepared."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
