"""Sources that are the manifest's own outputs: a run reads its sources before it writes what they would be then."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, fault
from onnxbuild.manifest.spec import Manifest
from onnxbuild.permissions import is_below
from onnxbuild.planning.action_graph import ActionGraph, FilesSource
from onnxbuild.planning.local_files import is_part_of_a_model
from onnxbuild.regular_files import is_link

_HINT = (
    "outputs are written after all sources were read, so that the result would be one run behind: name what {} is made "
    "from, or copy the file to another folder"
)


def check_sources(out: Path, graph: ActionGraph, manifest: Manifest) -> None:
    """Refuse whatever the manifest reads from a folder that it also writes. `graph`: the whole one of the manifest.

    Errors: DiagnosticError OB646 with each such source.
    """
    if not os.path.isdir(out):  # before the first run, nothing is in it that could be read
        return
    faults = list(dict.fromkeys(_Written(out, graph).faults(graph, manifest)))
    if faults:
        raise DiagnosticError(faults)


class _Written:
    """The folders of a manifest's variants, below an output folder."""

    def __init__(self, out: Path, graph: ActionGraph) -> None:
        self._out = os.path.realpath(out)
        self._variants = set(graph.folders)
        self._parts = [(model, target) for model, target in graph.folders if is_part_of_a_model(target)]
        self._known: dict[str, str] = {}

    def faults(self, graph: ActionGraph, manifest: Manifest) -> Iterator[Diagnostic]:
        for path in manifest.files:
            yield from self._fault(os.path.abspath(path), None)
        for toolchain in manifest.toolchains.values():
            if toolchain.python:  # in a virtual environment, a link that leads out of it
                yield from self._fault(os.path.join(os.path.dirname(toolchain.python), ""), toolchain.span)
        for action in graph.actions.values():
            for source in action.inputs.values():
                if isinstance(source, FilesSource):
                    yield from self._source_faults(source, action.span)

    def _source_faults(self, source: FilesSource, at: Span | None) -> Iterator[Diagnostic]:
        for name in source.files:
            yield from self._fault(os.path.join(source.root, name), at)
        names = self._names(self._real_folder(source.root))
        for model, target in self._parts if len(names) == 1 else ():  # a run may only be about to write it
            if names == [model]:
                yield _own(os.path.join(source.root, target), f"`{model}/{target}`", at)

    def _fault(self, path: str, at: Span | None) -> Iterator[Diagnostic]:
        names = self._names(self._real(path))
        if tuple(names[:2]) in self._variants:
            yield _own(os.path.dirname(path), f"`{names[0]}/{names[1]}`", at)

    def _real(self, path: str) -> str:
        """A path with links resolved."""
        folder, name = os.path.split(path)
        return os.path.realpath(path) if is_link(path) else os.path.join(self._real_folder(folder), name)

    def _real_folder(self, folder: str) -> str:
        """A folder with links resolved, by one look at each distinct folder: `realpath` looks at the whole way."""
        way = []
        while folder not in self._known and not is_link(folder) and os.path.dirname(folder) != folder:
            way.append(folder)
            folder = os.path.dirname(folder)
        if folder not in self._known:
            self._known[folder] = os.path.realpath(folder)
        real = self._known[folder]
        for one in reversed(way):
            real = self._known[one] = os.path.join(real, os.path.basename(one))
        return real

    def _names(self, real: str) -> list[str]:
        """The names on the way from the output folder to a path; none if it is elsewhere."""
        return real[len(self._out) :].strip(os.sep).split(os.sep) if is_below(real, self._out) else []


def _own(folder: str, variant: str, at: Span | None) -> Diagnostic:
    message = f"the manifest reads `{folder}`, which it writes itself: the output of {variant}"
    return fault("OB646", message, span=at, hint=_HINT.format(variant))
