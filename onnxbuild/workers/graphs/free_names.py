"""Frees the names that converters give to what they add: `w_scale` beside a weight `w`.

Neither ONNX Runtime's quantizers and converter nor the rewrites here ask whether a graph has such a name already. A
checkpoint that stores a weight and a scale of its own under these names would be computed with the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from onnx import GraphProto, ModelProto

from onnxbuild.workers.graphs.walk import graphs_of

_ADDED = re.compile(
    r"_?quant|_scale|_zero_point|_Q\d|_DQ_|_Bnb4|_absmax|_(Deq|Q)uantizeLinear|_output|_pre_reshape"  # quantizers
    r"|_cast|_for_branches|_transposed|_product"  # the converter to half precision, and the rewrites here
)
_CASTS = re.compile(r"graph_(in|out)put_cast_\d+$")  # the converter's, whatever the input is called


def free_added_names(model: ModelProto) -> int:
    """Rename each value that has the name of another one with an ending that converters add; returns how many.

    Names of inputs and outputs stay, because callers use them.
    """
    names = {name for graph in graphs_of(model.graph) for name in _names_of(graph)}
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    renamed = {name: _free(name, names) for name in sorted(names - kept) if _is_added(name, names)}
    if renamed:
        for graph in graphs_of(model.graph):
            _rename(graph, renamed)
    return len(renamed)


def _is_added(name: str, names: set[str]) -> bool:
    return _CASTS.match(name) is not None or any(name[: found.start()] in names for found in _ADDED.finditer(name))


def _free(name: str, names: set[str]) -> str:
    """A name that no ending of another one gives: the number is in front."""
    number = next(number for number in range(len(names) + 1) if f"own{number}_{name}" not in names)
    return f"own{number}_{name}"


def _names_of(graph: GraphProto) -> Iterator[str]:
    yield from (name for node in graph.node for name in node.output if name)
    yield from (one.name for one in (*graph.input, *graph.initializer))
    yield from (one.values.name for one in graph.sparse_initializer)


def _rename(graph: GraphProto, renamed: dict[str, str]) -> None:
    for node in graph.node:
        for field in (node.input, node.output):
            for place, name in enumerate(field):
                if name in renamed:
                    field[place] = renamed[name]
    for one in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        one.name = renamed.get(one.name, one.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = renamed.get(sparse.values.name, sparse.values.name)
