"""Height and width of a picture: a graph that takes one size says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel, onnx_files
from onnxbuild.workers.graphs.graph_files import load_graph, save_graph
from onnxbuild.workers.inputs.media import picture_size
from onnxbuild.workers.inputs.picture_sizes import PICTURE, frees_size, one_picture, other_picture
from onnxbuild.workers.inputs.sample_source import Source, open_source
from onnxbuild.workers.inputs.samples import Sample


def settle_picture_axes(root: Path, task: str) -> dict[str, list[int]]:
    """Fix height and width in the graphs of a folder that run with the config's size and fail with another one.

    Returns the fact `picture`: the one size, [height, width]; nothing if any size runs, or if pictures are not taken.
    Whether another size is also computed right is for `validate` to say.
    """
    if not any(_takes_pictures(path) for path in onnx_files(root)):
        return {}
    model = OnnxModel(root, threads=1)
    if not frees_size(model.inputs(model.first)):
        return {}
    source = open_source(root, model, task, seed=0)
    if _runs(model, source, other_picture) or not _runs(model, source, one_picture):
        return {}
    height, width = picture_size(source)
    for path in onnx_files(root):
        _fix(path, height, width)
    return {"picture": [height, width]}


def _takes_pictures(path: Path) -> bool:
    return any(one.name == PICTURE for one in load_graph(path).graph.input)


def _runs(model: OnnxModel, source: Source, make: Callable[[Source], Sample]) -> bool:
    try:
        model.run(model.first, make(source).feeds)
    except Exception:  # noqa: BLE001 - whatever is raised, the graph does not take the size, or no sample can be made
        return False
    return True


def _fix(path: Path, height: int, width: int) -> None:
    graph = load_graph(path)
    for one in graph.graph.input:
        if one.name == PICTURE:
            *_, high, wide = one.type.tensor_type.shape.dim
            high.dim_value, wide.dim_value = height, width
            save_graph(graph, path)
