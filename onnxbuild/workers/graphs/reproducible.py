"""Equal models in equal bytes: metadata sorted, and whatever differs between two machines or two runs removed."""

from __future__ import annotations

import re
from typing import Any

from onnx import ModelProto

from onnxbuild.workers.graphs.walk import graphs_of

# torch.export writes this for a function that it met while tracing: `<function sym_min at 0x7fed94d28400>`.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def make_reproducible(model: ModelProto) -> None:
    """Sort the metadata of a model, its graphs, nodes and values, and drop stack traces, which hold local paths."""
    _tidy_metadata(model)
    for graph in graphs_of(model.graph):
        _tidy_metadata(graph)
        for value in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
            _tidy_metadata(value)


def _tidy_metadata(owner: Any) -> None:
    if owner.metadata_props:
        kept = sorted((p.key, _ADDRESS.sub("", p.value)) for p in owner.metadata_props if "stack_trace" not in p.key)
        del owner.metadata_props[:]
        for key, value in kept:
            owner.metadata_props.add(key=key, value=value)
    owner.ClearField("doc_string")
