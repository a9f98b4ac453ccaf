"""ONNX Runtime as a user opens a graph: default options, one thread, no messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime


def session(path: Path) -> Any:
    """The graph, opened on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
