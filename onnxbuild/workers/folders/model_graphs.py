"""The graphs of a model folder: whether they are one model, and which files hold their weights."""

from __future__ import annotations

import filecmp
from pathlib import Path

from onnxbuild.onnx_files.onnx_outline import NotOnnx, Outline, below_its_folder, is_description, read_outline
from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.graph_stages import why_not_one_model
from onnxbuild.workers.folders.model_files import copy_model_file, files_below


def outline_of(path: Path) -> Outline:
    """The outline of one graph. Errors: CheckFailed OBE41."""
    try:
        return read_outline(path.resolve())
    except NotOnnx as error:
        raise not_a_model(path) from error


def external_files(path: Path) -> tuple[str, ...]:
    """The files that hold weights of the graph at `path`, relative to its folder, sorted.

    Errors: CheckFailed OBE40 for one that is outside the folder, OBE41 if the graph cannot be read.
    """
    return tuple(sorted(_inside(path, location) for location in outline_of(path).data))


def has_external_data(path: Path) -> bool:
    """Whether the model at `path` keeps weights in another file."""
    return bool(outline_of(path).data)


def size_bytes(path: Path) -> int:
    """Bytes of a model with its external data. Errors: CheckFailed OBE40 if a file of it is missing."""
    return path.stat().st_size + sum(data_file(path, name).stat().st_size for name in external_files(path))


def check_data(path: Path) -> None:
    """Check that all weights of the graph at `path` are where it says. Errors: CheckFailed OBE40."""
    for location, needed in outline_of(path).data.items():
        size = data_file(path, location).stat().st_size
        if size < needed:
            message = f"{path.name}: `{location}` is cut short: it has {size:,} bytes, and the graph reads {needed:,}"
            hint = "the file was cut short: fetch or export the model again"
            raise CheckFailed("OBE40", message, notes=[("hint", hint)])


def data_file(path: Path, location: str) -> Path:
    """The file that the graph at `path` calls `location`. Errors: CheckFailed OBE40 if it is outside or missing."""
    file = path.parent / _inside(path, location)
    if not file.resolve().is_relative_to(path.parent.resolve()):
        raise _outside(path, location)
    if not file.is_file():
        raise CheckFailed(
            "OBE40",
            f"{path.name}: its external data `{location}` is missing",
            notes=[("hint", "copy the .onnx file together with its data file, both under their original names")],
        )
    return file


def copy_data(source: Path, destination: Path, graph: Path | None = None) -> None:
    """Copy the files of weights that a graph refers to from beside `source` to beside `destination`.

    `graph` is the one that says which they are; `source` by default. Errors: CheckFailed OBE40.
    """
    for name in external_files(graph or source):
        target = destination.parent / name
        if not target.exists():
            copy_model_file(data_file(source, name), target)
        elif not _equal(data_file(source, name), target):
            message = f"two graphs need different files with the name `{name}`"
            hint = "save the model again with one file of weights for each graph, named after it"
            raise CheckFailed("OBE40", message, notes=[("hint", hint)])


def data_below(root: Path) -> frozenset[str]:
    """Names of all files below `root` that hold weights of a graph there, POSIX style."""
    graphs = (name for name in files_below(root) if name.endswith(".onnx"))
    return frozenset((Path(name).parent / data).as_posix() for name in graphs for data in external_files(root / name))


def check_one_model(root: Path) -> None:
    """Fail if a graph below `root` would be delivered without being run. Errors: CheckFailed OBE80."""
    outlines = {name: outline_of(root / name) for name in files_below(root) if name.endswith(".onnx")}
    why = why_not_one_model({name: outline.inputs for name, outline in outlines.items()})
    if why is not None:
        hint = (
            f"there are {', '.join(f'`{name}`' for name in outlines)}: pick one with `file:`, where the source is ONNX;"
            " an exporter must write the parts of one model, under the names that loaders know"
        )
        raise CheckFailed("OBE80", why, notes=[("hint", hint)])


def _inside(path: Path, location: str) -> str:
    name = below_its_folder(location)
    if name is None:
        raise _outside(path, location)
    if is_description(name):
        raise CheckFailed(
            "OBE40",
            f"{path.name}: external data `{location}` has the name of what onnxbuild writes beside every model",
            notes=[("hint", "save the model again with another name for its weights")],
        )
    return name


def _outside(path: Path, location: str) -> CheckFailed:
    return CheckFailed(
        "OBE40",
        f"{path.name}: external data `{location}` lies outside the model's folder",
        notes=[("hint", "only files beside the model are read; save it again with external data in its folder")],
    )


def not_a_model(path: Path) -> CheckFailed:
    """OBE41, with what the first bytes of the file say about it."""
    head = path.read_bytes()[:64] if path.is_file() else b""
    hint = "the file is damaged or has another format: fetch it again"
    if head.startswith(b"version https://git-lfs"):
        hint = "it is a Git LFS pointer: run `git lfs pull` in the repository that it came from"
    elif head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        hint = "it is a web page: the download was refused, so check the address and the token"
    return CheckFailed("OBE41", f"{path.name} is not an ONNX model", notes=[("hint", hint)])


def _equal(first: Path, second: Path) -> bool:
    return filecmp.cmp(first, second, shallow=False)
