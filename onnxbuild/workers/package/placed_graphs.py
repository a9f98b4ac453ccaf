"""Graphs of targets in a package: copied under the names of their roles, each with its own files of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxbuild.steps.packaging.package_kind import graph_port
from onnxbuild.workers.folders.model_files import carry_along, carry_companions, copy_model_file, onnx_names
from onnxbuild.workers.folders.model_graphs import copy_data, data_below, data_file, external_files, outline_of

# What sentence-transformers and optimum call the vectors of tokens.
_TOKENS, _TOKENS_FOR_OPTIMUM = "token_embeddings", "last_hidden_state"

Naming = Callable[[str, str], str]  # the POSIX name of a graph in its target, and its role → its name in the package


def folders_of(graphs: Mapping[str, str], inputs: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Each role, with the folder of its target."""
    return ((role, inputs[graph_port(target)]) for role, target in graphs.items())


def place_graphs(graphs: Mapping[str, str], inputs: Mapping[str, Path], package: Path, naming: Naming) -> list[str]:
    """Copy the graphs of every role into a package; returns their names there."""
    placed = []
    for role, folder in folders_of(graphs, inputs):
        for name in onnx_names(folder):
            placed.append(naming(name, role))
            place_graph(folder / name, package / placed[-1])
    return placed


def place_graph(source: Path, destination: Path) -> None:
    """Copy one graph. With another name, its files of weights get names that belong to it, too.

    The vectors of tokens, which sentence-transformers calls `token_embeddings`, get the name that optimum looks for.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    outputs = outline_of(source).outputs
    renames = _TOKENS in outputs and _TOKENS_FOR_OPTIMUM not in outputs
    data = external_files(source)
    same_name = not data or source.name == destination.name
    if same_name and not renames:
        copy_model_file(source, destination)
        copy_data(source, destination)
        return
    named = {
        name: name if same_name else f"{destination.name}_data{f'_{number}' if number else ''}"
        for number, name in enumerate(data)
    }
    for name, new in named.items():
        copy_model_file(data_file(source, name), destination.parent / new)
    _write_changed(source, destination, named, renames=renames)


def _write_changed(source: Path, destination: Path, data: Mapping[str, str], *, renames: bool) -> None:
    from onnxbuild.workers.graphs.graph_files import load_graph, save_graph

    model = load_graph(source)
    _point_to(model, data)
    if renames:
        _rename_value(model.graph, _TOKENS, _TOKENS_FOR_OPTIMUM)
    save_graph(model, destination)


def _point_to(model: Any, data: Mapping[str, str]) -> None:
    """Let the external tensors of a model refer to files by their new names."""
    from onnx.external_data_helper import uses_external_data

    from onnxbuild.workers.graphs.walk import tensors_of

    for tensor in tensors_of(model):
        for entry in tensor.external_data if uses_external_data(tensor) else ():
            if entry.key == "location":
                entry.value = data[entry.value.removeprefix("./")]


def _rename_value(graph: Any, old: str, new: str) -> None:
    """Rename a value of a graph wherever it is made or read, also in the graphs of its branches."""
    for value in (*graph.output, *graph.value_info, *graph.initializer):
        if value.name == old:
            value.name = new
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                _rename_value(inner, old, new)


def carry_configs(graphs: Mapping[str, str], inputs: Mapping[str, Path], package: Path) -> None:
    """Copy configs, tokenizer and processor: those of the first target, and what only others or the checkpoint have."""
    for _, folder in folders_of(graphs, inputs):
        carry_along(folder, package, data_below(folder))
    carry_companions(inputs["model"], package)
