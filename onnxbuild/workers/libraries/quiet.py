"""Keeps warnings and progress bars of verbose libraries out of the log."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_VERBOSE = ("optimum", "transformers", "onnxruntime", "onnxscript", "torch.onnx", "sentence_transformers", "root")

# Its warnings matter although it continued: a generation config that it left out, outputs that differ.
_KEPT = "optimum.exporters.onnx.convert"


@contextmanager
def quiet() -> Iterator[None]:
    """Run a library without its tracer warnings, INFO lines and progress bars; errors are still logged.

    The warnings of optimum's export are logged too; `NOTICED` lists those that a user should see.
    """
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    levels = {name: logging.getLogger(name).level for name in (*_VERBOSE, _KEPT) if name != "root"}
    for name in levels:
        logging.getLogger(name).setLevel(logging.WARNING if name == _KEPT else logging.ERROR)
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)
        root.setLevel(level)
        root.handlers[:] = handlers  # onnxruntime's quantizers call logging.basicConfig when they are imported
