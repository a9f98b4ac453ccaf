"""Foreign code that an export runs: custom exporters, and the Python files of a checkpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from typing import Any

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.reach import Reach
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.steps.python_code import watched_code

_COMMIT = re.compile(r"@[0-9a-f]{40}$")


def exporter_code(text: str, at: Span, reach: Reach) -> FilesSource | Diagnostic:
    """The files of a custom exporter: one file within reach of the manifest, or the whole package of a module.

    A path is relative to the file in which it was written. Nothing is imported.
    """
    place, _, function = text.rpartition(":")
    if not place or not function.isidentifier():
        return fault("OB026", f"`{text}` is not an exporter", span=at, hint="write `path/to/file.py:function`")
    if not place.endswith(".py"):
        return _of_module(place, at)
    path = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(at.source.path)), os.path.expanduser(place)))
    problem = reach.problem(place, path, at)
    if problem is not None:
        return problem
    folder, name = os.path.split(path)
    if not os.path.isfile(path):
        near = did_you_mean(name, os.listdir(folder)) if os.path.isdir(folder) else None
        return fault("OB016", f"`{place}` does not exist", span=at, hint=near or f"looked for `{path}`")
    return FilesSource(folder, (name,))


def watched_code_of(code: FilesSource) -> Iterator[str]:
    """What changes with the files of an exporter: its file; of a package, all folders that may get a module, too."""
    place = os.path.join(code.root, code.files[0].partition(os.sep)[0])
    yield from watched_code([place]) if os.path.isdir(place) else [place]


def floating_code(source: Any, config: Mapping[str, Any] | None, at: Span) -> list[Diagnostic]:
    """Faults of a checkpoint whose own code may run: the manifest must pin all of the code.

    An entry of the lock is not enough: the first run writes it with the newest commit, which nobody has read.
    """
    faults = []
    if isinstance(source, str) and source.startswith("hub:") and not _COMMIT.search(source):
        message = "`trust_remote_code` runs the Python code of a revision that is not pinned"
        hint = f"read the code, then write `{source.partition('@')[0]}@` with the 40 digits of its commit"
        faults.append(fault("OB107", message, span=at, hint=hint))
    elsewhere = [name for name in _auto_classes(config) if "--" in name]
    if elsewhere:
        message = f"the checkpoint's code is in another repository: `{elsewhere[0].partition('--')[0]}`"
        hint = "its revision is not pinned: copy its .py files beside the weights, and use the folder as `local:`"
        faults.append(fault("OB107", message, span=at, hint=hint))
    return faults


def _auto_classes(config: Mapping[str, Any] | None) -> Iterator[str]:
    names = (config or {}).get("auto_map")
    for value in names.values() if isinstance(names, Mapping) else ():
        yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))


def _of_module(place: str, at: Span) -> FilesSource | Diagnostic:
    from importlib.util import find_spec

    name = place.partition(".")[0]
    try:
        # A dotted name would import the parents of what it names.
        spec = find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    files = tuple(sorted(_files(spec))) if spec is not None else ()
    if spec is None or not files:
        hint = "write `path/to/file.py:function`, or install the module into the environment of onnxbuild"
        return fault("OB016", f"the module `{place}` cannot be found", span=at, hint=hint)
    return FilesSource(_root(spec), files)


def _root(spec: ModuleSpec) -> str:
    places = list(spec.submodule_search_locations or ())
    return os.path.dirname(places[0] if places else str(spec.origin))


def _files(spec: ModuleSpec) -> Iterator[str]:
    places = list(spec.submodule_search_locations or ())
    if not places:
        if spec.origin is not None and spec.origin.endswith(".py"):
            yield os.path.basename(spec.origin)
        return
    for folder, folders, names in os.walk(places[0]):
        folders[:] = [one for one in folders if one != "__pycache__"]
        below = os.path.relpath(folder, os.path.dirname(places[0]))
        yield from (os.path.join(below, name) for name in names if name.endswith(".py"))
