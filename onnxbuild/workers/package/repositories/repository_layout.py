"""The layout of a model repository: what a server needs to find each model and its version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.folders.model_graphs import data_file, external_files
from onnxbuild.workers.package.repositories.repository_graphs import GRAPH


def model_folders(models: Path) -> list[Path]:
    """The folders of the models of a repository. Errors: CheckFailed OBE191 if it has none."""
    found = sorted(path for path in models.iterdir() if path.is_dir()) if models.is_dir() else []
    if not found:
        raise CheckFailed("OBE191", "the repository has no model", notes=[("hint", "build the package again")])
    return found


def newest_version(model: Path) -> Path:
    """The folder of a model's newest version. Errors: CheckFailed OBE191 for a folder that is no version."""
    folders = [path for path in model.iterdir() if path.is_dir()]
    wrong = next((path for path in folders if not _is_version(path.name)), None)
    if wrong is not None:
        raise _refused(f"the folder `{model.name}/{wrong.name}` is no version: a version is a positive integer")
    if not folders:
        raise _refused(f"the model `{model.name}` has no version")
    return max(folders, key=lambda path: int(path.name))


def check_graph_files(version: Path) -> Path:
    """The graph of a version, with all its files of weights beside it. Errors: CheckFailed OBE191."""
    graph = version / GRAPH
    for path in _files_of(graph):
        if not path.is_file():
            raise _refused(f"`{version.parent.name}/{version.name}/{path.name}` is missing")
    return graph


def _files_of(graph: Path) -> Iterator[Path]:
    yield graph
    if graph.is_file():
        yield from (data_file(graph, name) for name in external_files(graph))


def _is_version(name: str) -> bool:
    # Servers read `01` as a name, not as the version 1.
    return name.isascii() and name.isdigit() and not name.startswith("0")


def _refused(message: str) -> CheckFailed:
    return CheckFailed("OBE191", message, notes=[("hint", "build the package again")])
