"""`of_onnxbuild.py MODEL CHECKPOINT BATCH TOKENS CALLS`: the worker of `benchmark`, as `onnxbuild run` calls it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from turns import serve

from onnxbuild.steps.benchmark import BenchmarkParams
from onnxbuild.workers.benchmark.worker import run

MODEL, CHECKPOINT = map(Path, sys.argv[1:3])
BATCH, TOKENS, CALLS = map(int, sys.argv[3:])
PARAMS = BenchmarkParams(task="feature-extraction", batch=(BATCH,), sequence=(TOKENS,), iterations=CALLS, rounds=2)


def measure() -> dict[str, list[float]]:
    """Every timed call of ONNX Runtime and of PyTorch, which take turns."""
    with tempfile.TemporaryDirectory() as folder:
        run(PARAMS, {"model": MODEL, "reference": CHECKPOINT}, {"samples": Path(folder)}, lambda *_: None)
        series = json.loads((Path(folder) / "latencies.json").read_bytes())
    return {one["engine"]: [value for part in one["rounds_ms"] for value in part] for one in series}


if __name__ == "__main__":
    serve(measure)
