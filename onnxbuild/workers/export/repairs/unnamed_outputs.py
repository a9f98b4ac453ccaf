"""Outputs that torch.onnx names itself, because the exporter's config of the model does not know them."""

from __future__ import annotations

import re
from pathlib import Path

from onnxbuild.workers.folders.model_files import onnx_names
from onnxbuild.workers.graphs.graph_files import load_graph, save_graph

_UNNAMED = re.compile(r"onnx::\w+|\d+")


def drop_unnamed_outputs(root: Path) -> None:
    """Remove outputs such as `onnx::Shape_622` from the graphs below `root`, unless a graph has no others.

    Nobody asks for them, and torch.onnx writes the sizes of its sample into their shapes. ONNX Runtime believes these
    when it folds constants: MetaCLIP 2 fails or is wrong with every other size.
    """
    for name in onnx_names(root):
        graph = load_graph(root / name)
        named = [output for output in graph.graph.output if not _UNNAMED.fullmatch(output.name)]
        if named and len(named) < len(graph.graph.output):
            del graph.graph.output[:]
            graph.graph.output.extend(named)
            save_graph(graph, root / name)
