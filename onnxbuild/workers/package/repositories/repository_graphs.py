"""The graphs of a model repository: where they are placed, and what each takes and returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from onnxbuild.steps.packaging.model_repository import RepositoryParams
from onnxbuild.workers.folders.model_files import onnx_names
from onnxbuild.workers.package.placed_graphs import folders_of, place_graph

MODELS = "models"
CONFIGS = "tokenizer"  # configs and tokenizer, which servers do not read and clients need
GRAPH = "model.onnx"


class Tensor(Struct, frozen=True):
    """An input or output of a graph: its ONNX type as ONNX Runtime writes it, and -1 for each axis that varies."""

    name: str
    type: str
    dims: tuple[int, ...]


class Signature(Struct, frozen=True):
    """What a graph takes and returns."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def all(self) -> tuple[Tensor, ...]:
        """Inputs and outputs."""
        return self.inputs + self.outputs


class PlacedModel(Struct, frozen=True):
    """A model of a repository. `role`: the target's own name for it, where one target has several graphs."""

    name: str
    role: str
    graph: Path
    alone: bool  # whether it is the only graph of its target


def place_models(params: RepositoryParams, inputs: Mapping[str, Path], package: Path) -> list[PlacedModel]:
    """Copy each graph to `models/NAME/VERSION/model.onnx`. Each graph of several becomes a model of its own."""
    return [*_models(params, inputs, package)]


def _models(params: RepositoryParams, inputs: Mapping[str, Path], package: Path) -> Iterator[PlacedModel]:
    for role, folder in folders_of(params.graphs, inputs):
        names = onnx_names(folder)
        for name in names:
            model = role if len(names) == 1 else f"{role}-{Path(name).name.removesuffix('.onnx')}"
            graph = package / MODELS / model / str(params.version) / GRAPH
            place_graph(folder / name, graph)
            yield PlacedModel(model, role, graph, len(names) == 1)


def opened_signature(session: Any) -> Signature:
    """The signature as an open session of ONNX Runtime has it. Servers compare with it, too.

    The file may say less: ONNX Runtime infers the sizes of axes that have only a name there.
    """

    def tensors(values: Any) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(one.name, one.type, tuple(dim if isinstance(dim, int) else -1 for dim in one.shape))
            for one in values
        )

    return Signature(tensors(session.get_inputs()), tensors(session.get_outputs()))
