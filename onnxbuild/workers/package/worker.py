"""plain: writes a folder that optimum's `ORTModel` loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.packaging.plain_package import PlainParams
from onnxbuild.workers.package.checksums import closed
from onnxbuild.workers.package.placed_graphs import carry_configs, place_graphs


def run(params: PlainParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Copy the graphs with the endings of their roles, and everything beside them, and write the checksums."""
    package = outputs["package"]
    progress("copying the graphs")
    graphs = place_graphs(params.graphs, inputs, package, with_ending)
    carry_configs(params.graphs, inputs, package)
    progress("writing the checksums")
    return {"graphs": graphs, **closed(package)}


def with_ending(name: str, role: str) -> str:
    """The file name of a graph in a role: `model.onnx` as `quantized` is `model_quantized.onnx`."""
    return f"{name.removesuffix('.onnx')}_{role}.onnx" if role else name
