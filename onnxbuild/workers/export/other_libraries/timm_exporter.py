"""Export of a checkpoint of timm: pictures of any size where the graph is right for them, else of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnxbuild.steps.export import ExportParams
from onnxbuild.workers.engines.loading import Loaded
from onnxbuild.workers.engines.smoke_run import open_for_check
from onnxbuild.workers.engines.timm_models import Opened, open_timm
from onnxbuild.workers.export.other_libraries.traced import write_traced

_PICTURE = "pixel_values"
_BATCH = {0: "batch_size"}
_STEP = 32  # how much the sizes of convolutional models divide by
_NEAR = 1e-3  # of the largest value

Outputs = Mapping[str, Any]


def export(checkpoint: Path, destination: Path, params: ExportParams) -> list[Loaded]:
    """Write the graph."""
    opened = open_timm(checkpoint, params.task)
    own, other = _picture(opened, 0), _picture(opened, _STEP)
    usual, unusual = _run(opened, own), _try(opened, other)
    if unusual is not None:
        axes = {_PICTURE: {**_BATCH, 2: "height", 3: "width"}, **_free_axes(usual, unusual)}
        graph = write_traced(opened.model, {_PICTURE: own}, axes, destination, params.opset)
        if _gives(graph, other, unusual):
            return [Loaded(missing=(), unknown=opened.unknown)]
    axes = dict.fromkeys((_PICTURE, *usual), _BATCH)
    write_traced(opened.model, {_PICTURE: own}, axes, destination, params.opset)
    return [Loaded(missing=(), unknown=opened.unknown)]


def _picture(opened: Opened, step: int) -> Any:
    """Two pictures of the model's size, or of one that is a step higher and two steps wider."""
    channels, height, width = opened.picture
    noise = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, height + step, width + 2 * step, generator=noise)


def _run(opened: Opened, pixels: Any) -> Outputs:
    with torch.no_grad():
        return dict(opened.model(pixels))


def _try(opened: Opened, pixels: Any) -> Outputs | None:
    try:
        return _run(opened, pixels)
    except (AssertionError, RuntimeError, ValueError):  # how models say that they take one size
        return None


def _free_axes(usual: Outputs, unusual: Outputs) -> dict[str, dict[int, str]]:
    """The axes of the outputs that depend on the size of the picture."""
    return {name: {**_BATCH, **_unlike(value, unusual[name])} for name, value in usual.items()}


def _unlike(one: Any, other: Any) -> dict[int, str]:
    sizes = enumerate(zip(one.shape, other.shape, strict=True))
    return {axis: f"features_{axis}" for axis, (size, another) in sizes if size != another}


def _gives(graph: Path, pixels: Any, expected: Outputs) -> bool:
    """Whether a graph gives what timm gives for another size: what was computed while tracing may be fixed in it."""
    try:
        found = open_for_check(graph).run(list(expected), {_PICTURE: pixels.numpy()})
    except Exception:  # noqa: BLE001 - whatever ONNX Runtime raises, the graph does not take the size
        return False
    return all(_are_near(one, other.numpy()) for one, other in zip(found, expected.values(), strict=True))


def _are_near(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.abs(one - other).max() <= _NEAR * np.abs(other).max())
