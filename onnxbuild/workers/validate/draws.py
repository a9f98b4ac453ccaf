"""Operators that draw random values: a graph with them differs from its reference, and from its own last run."""

from __future__ import annotations

from pathlib import Path

from onnxbuild.workers.engines.onnxruntime_engine import onnx_files
from onnxbuild.workers.graphs.graph_files import load_graph
from onnxbuild.workers.graphs.walk import count_operators

_DRAWING = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli",
                      "Multinomial"})  # fmt: skip


def drawing_operators(folder: Path) -> list[str]:
    """The names of those that the graphs of a folder have, in alphabetical order."""
    return sorted({name for path in onnx_files(folder) for name in count_operators(load_graph(path))} & _DRAWING)
