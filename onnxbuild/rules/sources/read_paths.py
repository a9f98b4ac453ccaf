"""What a manifest reads on this machine, for the rule that nothing is published over it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from onnxbuild.permissions import is_below
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.planning.local_files import absolute_path, is_part_of_a_model
from onnxbuild.rules.rule import World


def reader_of(world: World, folder: str) -> str | None:
    """Which input of the manifest is in a folder, or is a folder around it, in words; None if there is none.

    `folder` has its links resolved.
    """
    for path in _files(world):
        if is_below(path, folder):
            return f"a folder that holds `{_shown(world, path)}`, which the manifest reads"
    for source in _folders(world):
        if is_below(folder, source) and _takes(world, source, folder):
            return f"a folder in `{_shown(world, source)}`, which is a source"
    return None


def _files(world: World) -> Iterator[str]:
    """Sources, datasets, texts, code and manifests: where they are written, and where their links lead."""
    written = [*world.manifest.files, *world.expansion.files]
    for action in world.expansion.graph.actions.values():
        for source in action.inputs.values():
            if isinstance(source, FilesSource):
                written += [os.path.join(source.root, name) for name in source.files]
    folders: dict[str, str] = {}
    for path in dict.fromkeys(map(os.path.abspath, written)):
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        yield os.path.join(folders[folder], name)
        if os.path.islink(path):
            yield os.path.realpath(path)


def _folders(world: World) -> Iterator[str]:
    """The folders that are sources or adapters as a whole."""
    for model in world.manifest.models:
        for key, text in (("source", model.source), ("adapter", model.adapter)):
            scheme, _, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
            if scheme in {"local", "onnx"} and rest:
                path = os.path.realpath(absolute_path(rest, model.block.value_span(key)))
                if os.path.isdir(path):
                    yield path


def _takes(world: World, source: str, folder: str) -> bool:
    """Whether a folder in a source counts as a part of it. A manifest may lie in its source, and publish beside it."""
    home = os.path.realpath(os.path.dirname(os.path.abspath(world.manifest.path)))
    return not is_below(home, source) or is_part_of_a_model(os.path.relpath(folder, source).split(os.sep)[0])


def _shown(world: World, path: str) -> str:
    home = os.path.realpath(os.path.dirname(os.path.abspath(world.manifest.path)))
    return os.path.relpath(path, home).replace(os.sep, "/") if is_below(path, home) else path
