"""Libraries that talk too much: warnings and progress bars kept out of the log, and the network out of reach."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_TALKERS = ("optimum", "transformers", "onnxruntime", "onnxscript", "torch.onnx", "sentence_transformers", "root")

# What it warns of matters although it went on: a generation config that it left out, outputs that differ.
_HEARD = "optimum.exporters.onnx.convert"


@contextmanager
def quiet() -> Iterator[None]:
    """Run a library without its tracer warnings, INFO lines and bars; errors are still logged.

    So are the warnings of optimum's export itself, of which `NOTICED` takes what someone should know.
    """
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    levels = {name: logging.getLogger(name).level for name in (*_TALKERS, _HEARD) if name != "root"}
    for name in levels:
        logging.getLogger(name).setLevel(logging.WARNING if name == _HEARD else logging.ERROR)
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
