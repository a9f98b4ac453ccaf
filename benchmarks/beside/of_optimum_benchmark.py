"""`of_optimum_benchmark.py MODEL CHECKPOINT BATCH TOKENS CALLS`: the inference scenario of optimum-benchmark.

Without a model its PyTorch backend measures the checkpoint, with one its onnxruntime backend measures the graph.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import cache
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

from optimum_benchmark.scenarios.inference.config import InferenceConfig
from optimum_benchmark.scenarios.inference.scenario import InferenceScenario
from turns import serve

MODEL, CHECKPOINT = sys.argv[1:3]
BATCH, TOKENS, CALLS = map(int, sys.argv[3:])
SAME = {"task": "feature-extraction", "library": "transformers", "model_type": "bert", "device": "cpu"}


@cache
def backend() -> Any:
    """The backend with one thread. PyTorch takes the number of its threads only once in a process."""
    if MODEL == "-":
        from optimum_benchmark.backends.pytorch.backend import PyTorchBackend
        from optimum_benchmark.backends.pytorch.config import PyTorchConfig

        one_thread = {"inter_op_num_threads": 1, "intra_op_num_threads": 1}
        return PyTorchBackend(PyTorchConfig(model=CHECKPOINT, **one_thread, **SAME))
    _give_tasks()
    from optimum_benchmark.backends.onnxruntime.backend import ORTBackend
    from optimum_benchmark.backends.onnxruntime.config import ORTConfig

    one_thread = {"inter_op_num_threads": 1, "intra_op_num_threads": 1}
    return ORTBackend(ORTConfig(model=MODEL, export=False, session_options=one_thread, **SAME))


def _give_tasks() -> None:
    """Add the table that optimum 1.27 had, which optimum-benchmark 0.6.0 imports and later versions no longer have.

    optimum 1.27 itself does not import with torch 2.13.
    """
    import optimum.pipelines
    from optimum.onnxruntime import ORTModelForFeatureExtraction

    optimum.pipelines.ORT_SUPPORTED_TASKS = {SAME["task"]: {"class": (ORTModelForFeatureExtraction,)}}


def measure() -> dict[str, list[float]]:
    """Every timed call."""
    shapes = {"batch_size": BATCH, "sequence_length": TOKENS}
    scenario = InferenceScenario(InferenceConfig(iterations=CALLS, duration=0, warmup_runs=5, input_shapes=shapes))
    latency = scenario.run(backend()).forward.latency
    return {"torch" if MODEL == "-" else "onnxruntime": [1000 * seconds for seconds in latency.values]}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    serve(measure)
