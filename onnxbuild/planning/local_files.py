"""Files on this machine as planning sees them: which exist, and what a model folder's config.json says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".onnx", ".onnx_data", ".data")
# A Git-LFS pointer is some 130 bytes of text that stand for a file which was not downloaded.
_LFS_MARK, _LFS_BYTES = b"version https://git-lfs", 1024
_LARGEST_CONFIG = 4 << 20


class LocalFiles:
    """Reads files and folders, and notes each of them.

    A later run compares the stats of `files` and `directories` to know that nothing has changed.
    """

    def __init__(self, faults: list[Diagnostic]) -> None:
        self.files: dict[str, None] = {}
        self.directories: dict[str, None] = {}
        self.faults = faults

    def exists(self, text: str, path: str, at: Span, is_wanted: Callable[[str], bool]) -> bool:
        """Whether a path is a file or folder as wanted; a fault if it is not. `text` is what a person wrote."""
        if is_wanted(path):
            return True
        if os.path.exists(path):
            message = f"`{text}` is a {'folder' if os.path.isdir(path) else 'file'}"
            self.faults.append(fault("OB016", message, span=at))
            return False
        parent, name = os.path.split(path)
        names = os.listdir(parent) if os.path.isdir(parent) else []
        near = did_you_mean(name, (one for one in names if is_wanted(os.path.join(parent, one))))
        self.faults.append(fault("OB016", f"`{text}` does not exist", span=at, hint=near or f"looked for `{path}`"))
        return False

    def names_below(self, root: str) -> list[str]:
        """Files at the top of a model folder, in `onnx/` and in the folders of sentence-transformers modules."""
        names: list[str] = []
        folders: list[str] = []
        self.directories[root] = None
        for entry in os.scandir(root):
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_file():
                names.append(entry.name)
        for folder in folders:
            if folder == "onnx" or folder[:1].isdigit():
                path = os.path.join(root, folder)
                self.directories[path] = None
                names += [f"{folder}/{entry.name}" for entry in os.scandir(path) if entry.is_file()]
        return sorted(names)

    def are_weights(self, root: str, names: Iterable[str], at: Span) -> bool:
        """Whether the files are what their names say; a fault for each Git-LFS pointer."""
        pointers = [one for one in names if one.endswith(WEIGHT_SUFFIXES) and _is_lfs_pointer(os.path.join(root, one))]
        for name in pointers:
            hint = f"`git lfs pull` in `{root}` downloads the file itself"
            self.faults.append(fault("OB028", f"`{name}` is a Git-LFS pointer, not weights", span=at, hint=hint))
        return not pointers

    def config(self, root: str, at: Span) -> Mapping[str, Any] | None:
        """The config.json of a folder; None after a fault."""
        path = os.path.join(root, "config.json")
        self.files[path] = None
        try:
            with open(path, "rb") as file:
                config = json.loads(file.read(_LARGEST_CONFIG))
        except (OSError, ValueError, RecursionError) as error:
            self.faults.append(fault("OB027", f"`{path}` cannot be read: {error}", span=at))
            return None
        if not isinstance(config, dict):
            self.faults.append(fault("OB027", f"`{path}` does not contain a JSON object", span=at))
            return None
        return config


def absolute_path(text: str, at: Span) -> str:
    """The path that a text means: it is relative to the folder of the file in which it was written."""
    return os.path.normpath(os.path.join(folder_of(at), os.path.expanduser(text)))


def folder_of(at: Span) -> str:
    """The folder of the file in which something was written."""
    return os.path.dirname(os.path.abspath(at.source.path))


def _is_lfs_pointer(path: str) -> bool:
    try:
        if os.path.getsize(path) > _LFS_BYTES:
            return False
        with open(path, "rb") as file:
            return file.read(len(_LFS_MARK)) == _LFS_MARK
    except OSError:
        return False
