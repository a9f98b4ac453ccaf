"""Axes of inputs with one possible size: the exporter left them free by name, and the graph says the size instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from onnx import ModelProto

from onnxbuild.tables.input_kinds import axes_of_config
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel, onnx_files
from onnxbuild.workers.graphs.graph_files import load_graph, save_graph
from onnxbuild.workers.inputs.media import picture_size
from onnxbuild.workers.inputs.other_inputs import config_sizes
from onnxbuild.workers.inputs.picture_sizes import PICTURE, frees_size, one_picture, other_picture
from onnxbuild.workers.inputs.sample_source import Source, open_source
from onnxbuild.workers.inputs.samples import Sample

Sizes = dict[str, dict[int, int]]  # by input and axis; a negative axis counts from the last one


def settle_axes(root: Path, task: str) -> dict[str, list[int]]:
    """Fix what the config gives one size (colors, the length of a series), and pictures if only its size runs.

    Returns the fact `picture`: the one size, [height, width]; nothing if any size runs, or if pictures are not taken.
    Whether another size is also computed right is for `validate` to say.
    """
    if not any(_may_be_fixed(load_graph(path)) for path in onnx_files(root)):
        return {}
    model = OnnxModel(root, threads=1)
    source = open_source(root, model, task, seed=0)
    sizes = {name: config_sizes(source, name, spec) for name, spec in source.inputs.items()}
    pictures = frees_size(source.inputs)
    if not (any(sizes.values()) or pictures) or not _runs(model, source, one_picture):
        return {}
    height, width = picture_size(source)
    pictures = pictures and not _runs(model, source, other_picture)
    if pictures:
        sizes[PICTURE] |= {-2: height, -1: width}
    for path in onnx_files(root):
        _fix(path, sizes)
    return {"picture": [height, width]} if pictures else {}


def _may_be_fixed(model: ModelProto) -> bool:
    return any(axes_of_config(one.name, len(one.type.tensor_type.shape.dim)) for one in model.graph.input)


def _runs(model: OnnxModel, source: Source, make: Callable[[Source], Sample]) -> bool:
    try:
        model.run(model.first, make(source).feeds)
    except Exception:  # noqa: BLE001 - whatever is raised, the graph does not take the size, or no sample can be made
        return False
    return True


def _fix(path: Path, sizes: Mapping[str, Mapping[int, int]]) -> None:
    graph = load_graph(path)
    for one in graph.graph.input:
        for axis, size in sizes.get(one.name, {}).items():
            one.type.tensor_type.shape.dim[axis].dim_value = size
    if any(sizes.get(one.name) for one in graph.graph.input):
        save_graph(graph, path)
