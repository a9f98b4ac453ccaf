"""A module of PyTorch, traced and written as one graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

_FILE = "model.onnx"


class _InOrder(torch.nn.Module):  # type: ignore[misc]
    """Outputs in the order of their names in the graph: a tracer knows no names."""

    def __init__(self, model: Any, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.model(*inputs)
        return tuple(outputs[name] for name in self.names)


def write_traced(
    model: Any, inputs: Mapping[str, Any], axes: Mapping[str, Mapping[int, str]], folder: Path, opset: int
) -> Path:
    """Trace a model that returns its outputs by name; `axes` names the free axes of its inputs and outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _FILE
    with torch.no_grad():
        names = tuple(model(*inputs.values()))
        torch.onnx.export(
            _InOrder(model, names).eval(),
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=list(names),
            dynamic_axes={name: dict(free) for name, free in axes.items() if name in (*inputs, *names)},
            opset_version=opset,
            dynamo=False,
        )
    return path
