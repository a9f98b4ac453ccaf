"""The graphs of an `onnx:` source, with the files that hold their weights, whatever these are called."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.onnx_files.onnx_outline import NotOnnx, Outline, below_its_folder, is_description, read_outline
from onnxbuild.planning.graphs.picked import one_of_them
from onnxbuild.planning.local_files import LocalFiles, is_lfs_pointer
from onnxbuild.tables.graph_stages import incomplete, several


class Graphs(Struct, frozen=True):
    """The graphs of a source, and their files of weights; names below its root, POSIX style.

    `opset`: the lowest version of the standard operators in them; None if no graph names one.
    """

    graphs: tuple[str, ...]
    data: tuple[str, ...]
    opset: int | None = None


def with_data(local: LocalFiles, root: str, graphs: Sequence[str], names: Sequence[str], at: Span) -> Graphs | None:
    """The graphs below `root` with what they refer to; None, with faults, if they are not one complete model.

    `names`: the files of the folder. The content of a file that is not an ONNX model is left to the run, and its data
    is what exporters call it.
    """
    if not local.stay_inside(root, graphs, at) or not local.are_weights(root, graphs, at):
        return None
    outlines = {name: _outline(local, root, name) for name in graphs}
    known = {name: outline for name, outline in outlines.items() if outline is not None}
    problems = list(_not_one_model(known, at))
    unread = tuple(end for graph in graphs if graph not in known for end in (f"{graph}_data", f"{graph}.data"))
    data = dict.fromkeys(name for name in names if name.startswith(unread))
    for graph, outline in known.items():
        for location, needed in outline.data.items():
            name = _below_root(graph, location)
            problem = _outside(graph, location, at) if name is None else _unusable(local, root, graph, name, needed, at)
            problems += [problem] if problem is not None else []
            data |= {name: None} if name is not None else {}
    local.faults.extend(problems)
    opset = min((outline.opset for outline in known.values() if outline.opset), default=None)
    return None if problems else Graphs(tuple(graphs), tuple(data), opset)


def _outline(local: LocalFiles, root: str, name: str) -> Outline | None:
    path = os.path.join(root, name)
    local.files[path] = None  # another content may refer to other files
    try:
        # In the Hub's cache it is a link; `stay_inside` has checked where it leads.
        return read_outline(os.path.realpath(path))
    except (NotOnnx, OSError):
        return None


def _not_one_model(outlines: Mapping[str, Outline], at: Span) -> Iterator[Diagnostic]:
    inputs = {name: outline.inputs for name, outline in outlines.items()}
    if (why := several(inputs)) is not None:
        yield fault("OB622", why, span=at, hint=one_of_them(tuple(outlines)))
    elif (why := incomplete(inputs)) is not None:
        yield fault("OB622", why, span=at, hint="add that graph; `file:` takes a list of all graphs of one model")


def _below_root(graph: str, location: str) -> str | None:
    """The name below the root of what a graph refers to by a location below its own folder."""
    below = below_its_folder(location)
    return None if below is None else (PurePosixPath(graph).parent / below).as_posix()


def _outside(graph: str, location: str, at: Span) -> Diagnostic:
    message = f"`{graph}` has weights in `{location}`: the path is absolute or has `..` in it"
    return fault("OB623", message, span=at, hint="save the model again with all of its files in one folder")


def _unusable(local: LocalFiles, root: str, graph: str, name: str, needed: int, at: Span) -> Diagnostic | None:
    """Why a file of weights cannot be used; None also for a link that leads elsewhere, which has a fault of its own."""
    if not local.may_look_at(root, name):
        return None
    if is_description(name):
        message = f"`{graph}` has weights in `{name}`, which onnxbuild writes beside every model"
        return fault("OB623", message, span=at, hint="save the model again with another name for its weights")
    path = os.path.join(root, name)
    if not os.path.isfile(path):
        message = f"`{graph}` has weights in `{name}`, which does not exist"
        return fault("OB623", message, span=at, hint="copy the graph together with its files, under their own names")
    size = os.path.getsize(path)
    if size >= needed or is_lfs_pointer(path):  # which has a fault of its own
        return None
    message = f"`{name}` is cut short: it has {size:,} bytes, and `{graph}` reads {needed:,}"
    return fault("OB623", message, span=at, hint="copy or download the file again")
