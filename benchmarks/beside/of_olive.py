"""`of_olive.py MODEL CHECKPOINT BATCH TOKENS CALLS`: the latency metric of Olive's evaluator of ONNX models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from olive.common.config_utils import validate_config
from olive.data.config import DataComponentConfig, DataConfig
from olive.evaluator.metric import Metric
from olive.evaluator.olive_evaluator import OliveEvaluator, OnnxEvaluator
from olive.hardware import Device
from olive.model import ONNXModelHandler
from turns import serve

MODEL = next(Path(sys.argv[1]).glob("*.onnx"))
BATCH, TOKENS, CALLS = map(int, sys.argv[3:])
ONE_THREAD = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}


def metric(names: list[str]) -> Any:
    """The metric: rows of ones, which take the time that other rows of this shape take."""
    count = len(names)
    rows = {"input_names": names, "input_shapes": [[BATCH, TOKENS]] * count, "input_types": ["int64"] * count}
    written = {
        "name": "latency",
        "type": "latency",
        "sub_types": [{"name": "p50", "metric_config": {"warmup_num": 5, "repeat_test_num": CALLS}}],
        "user_config": {"inference_settings": {"onnx": {"session_options": ONE_THREAD}}},
        "data_config": DataConfig(
            name="rows",
            type="DummyDataContainer",
            load_dataset_config=DataComponentConfig(type="dummy_dataset", params=rows),
        ),
    }
    return validate_config(written, Metric)


def measure() -> dict[str, list[float]]:
    """Every timed call."""
    model = ONNXModelHandler(str(MODEL))
    wanted = metric(model.io_config["input_names"])
    rows, _, post = OliveEvaluator.get_user_config(model.framework, wanted)
    seconds = OnnxEvaluator()._evaluate_raw_latency(  # noqa: SLF001 - the public method returns the p50 only
        model, wanted, rows, post, Device.CPU, ["CPUExecutionProvider"]
    )
    return {"onnxruntime": [1000 * one for one in seconds]}


if __name__ == "__main__":
    serve(measure)
