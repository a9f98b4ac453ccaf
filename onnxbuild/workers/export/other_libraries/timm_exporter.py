"""Export of a checkpoint of timm: pictures of any size where the graph is right for them, else of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnxbuild.steps.export import ExportParams
from onnxbuild.workers.engines.loading import Loaded
from onnxbuild.workers.engines.smoke_run import open_for_check
from onnxbuild.workers.engines.timm_models import Opened, open_timm
from onnxbuild.workers.export.other_libraries.traced import write_traced

_BATCH = {0: "batch_size"}
_FREE = {**_BATCH, 2: "height", 3: "width"}
_STEP = 32  # how much the sizes of convolutional models divide by
_NEAR = 1e-3  # of the largest value


def export(checkpoint: Path, destination: Path, params: ExportParams) -> list[Loaded]:
    """Write the graph."""
    opened = open_timm(checkpoint, params.task)
    if not _takes_other_sizes(opened) or not _is_right_for_others(opened, _write(opened, _FREE, destination, params)):
        _write(opened, _BATCH, destination, params)
    return [Loaded(missing=(), unknown=opened.unknown)]


def _write(opened: Opened, axes: dict[int, str], destination: Path, params: ExportParams) -> Path:
    pixels = torch.zeros(2, *opened.picture)
    with torch.no_grad():
        outputs = opened.model(pixels)
    free = {name: _axes_of(value, axes) for name, value in outputs.items()}
    return write_traced(
        opened.model, {"pixel_values": pixels}, {"pixel_values": axes, **free}, destination, params.opset
    )


def _axes_of(output: Any, axes: dict[int, str]) -> dict[int, str]:
    """The batch, and where sizes are free the places of a map of features."""
    if len(axes) == 1 or output.dim() <= 2:  # noqa: PLR2004
        return _BATCH
    return {**_BATCH, **{axis: f"{axis}_of_features" for axis in range(1, output.dim())}}


def _other(opened: Opened) -> Any:
    channels, height, width = opened.picture
    return torch.randn(1, channels, height + _STEP, width + 2 * _STEP, generator=torch.Generator().manual_seed(0))


def _takes_other_sizes(opened: Opened) -> bool:
    try:
        with torch.no_grad():
            opened.model(_other(opened))
    except (AssertionError, RuntimeError, ValueError):
        return False
    return True


def _is_right_for_others(opened: Opened, graph: Path) -> bool:
    """Whether a graph gives what timm gives for another size: one that was computed while tracing may be in it."""
    pixels = _other(opened)
    with torch.no_grad():
        expected = [value.numpy() for value in opened.model(pixels).values()]
    try:
        found = open_for_check(graph).run(None, {"pixel_values": pixels.numpy()})
    except Exception:  # noqa: BLE001 - whatever ONNX Runtime raises, the graph does not take the size
        return False
    return all(_are_near(one, other) for one, other in zip(found, expected, strict=True))


def _are_near(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.abs(one - other).max() <= _NEAR * np.abs(other).max())
