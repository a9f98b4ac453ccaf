"""Files on this machine as planning sees them: which exist, and what a model folder's config.json says."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.reach import Reach
from onnxbuild.printable import printable
from onnxbuild.regular_files import open_regular, read_regular

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".onnx", ".onnx_data", ".data")
# A Git-LFS pointer is some 130 bytes of text that stand for a file which was not downloaded.
_LFS_MARK, _LFS_BYTES = b"version https://git-lfs", 1024
_LARGEST_CONFIG = 4 << 20


# In a comment at the beginning of a manifest: the command that makes the files which it needs.
_COMMAND = re.compile(r"^#.*?\b(python3? [\w./-]+\.py)\b", re.MULTILINE)


class LocalFiles:
    """Reads files and folders, and notes each of them.

    A later run compares the stats of `files` and `directories` to know that nothing has changed. Only what is within
    reach of the manifest is looked at.
    """

    def __init__(self, faults: list[Diagnostic], reach: Reach) -> None:
        self.files: dict[str, None] = {}
        self.directories: dict[str, None] = {}
        self.faults = faults
        self.reach = reach
        self._installed: set[str] = set()
        self._links: set[str] = set()

    def believe(self, root: str) -> None:
        """Look at a folder of an installed package wherever it is, and follow its links: the user installed it."""
        self._installed.add(root)

    def is_within_reach(self, text: str, path: str, at: Span) -> bool:
        """Whether the manifest may name a path; a fault if it may not. `text` is what a person wrote."""
        problem = None if path in self._installed else self.reach.problem(text, path, at)
        self.faults.extend([problem] if problem else [])
        return problem is None

    def exists(self, text: str, path: str, at: Span, is_wanted: Callable[[str], bool]) -> bool:
        """Whether a path within reach is a file or folder as wanted; a fault if not. `text` is what a person wrote."""
        if not self.is_within_reach(text, path, at):
            return False
        if is_wanted(path):
            return True
        if os.path.exists(path):
            message = f"`{text}` is a {'folder' if os.path.isdir(path) else 'file'}"
            self.faults.append(fault("OB016", message, span=at))
            return False
        parent, name = os.path.split(path)
        names = os.listdir(parent) if os.path.isdir(parent) else []
        near = did_you_mean(name, (one for one in names if is_wanted(os.path.join(parent, one))))
        hint = near or _made_by(at) or f"looked for `{path}`"
        self.faults.append(fault("OB016", f"`{text}` does not exist", span=at, hint=hint))
        return False

    def names_below(self, root: str, at: Span) -> list[str]:
        """Files at the top of a model folder, in `onnx/` and in the folders of sentence-transformers modules."""
        entries = self._entries(root, at)
        names = [entry.name for entry in entries if _is_file(entry)]
        for folder in entries:
            if is_part_of_a_model(folder.name) and _is_folder(folder):
                below = [entry for entry in self._entries(folder.path, at) if _is_file(entry)]
                names += [f"{folder.name}/{entry.name}" for entry in below]
                self._links.update(entry.path for entry in below if folder.is_symlink())
        return sorted(names)

    def _entries(self, folder: str, at: Span) -> list[os.DirEntry[str]]:
        """The entries of a folder; none, with a fault, if it cannot be read. Links among them are noted."""
        self.directories[folder] = None
        try:
            with os.scandir(folder) as scan:
                entries = list(scan)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self.faults.append(fault("OB016", f"`{folder}` cannot be read: {reason}", span=at))
            return []
        self._links.update(entry.path for entry in entries if entry.is_symlink())
        return entries

    def stay_inside(self, root: str, names: Sequence[str], at: Span) -> bool:
        """Whether no file of a model is a link that leads out of its folder, or has a name that cannot be kept.

        There is a fault for each that is.
        """
        problems = [fault("OB027", f"the file name `{one}` cannot be kept", span=at) for one in _unkept(names)]
        for name in names:
            path = os.path.join(root, name)
            if path in self._links and root not in self._installed:
                problem = self.reach.link_problem(name, path, root, at)
                problems += [problem] if problem else []
        self.faults.extend(problems)
        return not problems

    def may_look_at(self, root: str, name: str) -> bool:
        """Whether a file that a graph refers to is no link that leads out of the model folder.

        The file may be in any folder below the root, so it is noted here. `stay_inside` reports such a link.
        """
        path = os.path.join(root, name)
        self.directories[os.path.dirname(path)] = None
        if os.path.realpath(path) == os.path.join(os.path.realpath(root), *name.split("/")):
            return True
        self._links.add(path)
        return root in self._installed or self.reach.link_problem(name, path, root, None) is None

    def are_weights(self, root: str, names: Iterable[str], at: Span, data: Collection[str] = ()) -> bool:
        """Whether the files are what their names say; a fault for each Git-LFS pointer.

        `data`: those that hold weights, whatever they are called.
        """
        weights = (one for one in names if one.endswith(WEIGHT_SUFFIXES) or one in data)
        pointers = [one for one in weights if is_lfs_pointer(os.path.join(root, one))]
        for name in pointers:
            hint = f"`git lfs pull` in `{root}` downloads the file itself"
            self.faults.append(fault("OB028", f"`{name}` is a Git-LFS pointer, not weights", span=at, hint=hint))
        return not pointers

    def config(self, root: str, at: Span, name: str = "config.json") -> Mapping[str, Any] | None:
        """The config.json of a folder, or another file of JSON; None after a fault."""
        path = os.path.join(root, name)
        self.files[path] = None
        try:
            # In the Hub's cache it is a link; `stay_inside` has checked where it leads.
            config = json.loads(read_regular(os.path.realpath(path), _LARGEST_CONFIG))
        except (OSError, ValueError, RecursionError) as error:
            self.faults.append(fault("OB027", f"`{path}` cannot be read: {error}", span=at))
            return None
        if not isinstance(config, dict):
            self.faults.append(fault("OB027", f"`{path}` does not contain a JSON object", span=at))
            return None
        return config


def is_part_of_a_model(folder: str) -> bool:
    """Whether a model folder may have files in a folder of this name, such as `onnx` or `1_Pooling`."""
    return folder == "onnx" or folder[:1].isdigit()


def absolute_path(text: str, at: Span) -> str:
    """The path that a text means: it is relative to the folder of the file in which it was written."""
    return os.path.normpath(os.path.join(folder_of(at), os.path.expanduser(text)))


def open_text(path: str, newline: str | None = None) -> io.TextIOWrapper:
    """A regular file of text; where a link leads has been checked."""
    return io.TextIOWrapper(
        io.BufferedReader(open_regular(os.path.realpath(path))), encoding="utf-8-sig", newline=newline
    )


def folder_of(at: Span) -> str:
    """The folder of the file in which something was written."""
    return os.path.dirname(os.path.abspath(at.source.path))


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a regular file, or a link to one. A circular or broken link does not count."""
    return os.path.isfile(entry) if entry.is_symlink() else entry.is_file()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry) if entry.is_symlink() else entry.is_dir()


def _unkept(names: Iterable[str]) -> list[str]:
    """Names with control characters, or that are not UTF-8, in one printable line each.

    A stored result has only names that every system allows.
    """
    return [printable(name).replace("\n", "\\n") for name in names if not name.isprintable()]


def is_lfs_pointer(path: str) -> bool:
    """Whether a file is the text that stands for another one which Git LFS has not downloaded."""
    try:
        return read_regular(os.path.realpath(path), _LFS_BYTES).startswith(_LFS_MARK)
    except OSError:  # also for a larger file
        return False


def _made_by(at: Span) -> str | None:
    """A hint with the command that the comment at the beginning of a manifest names, if it names one."""
    comment = "\n".join(itertools.takewhile(lambda line: line.startswith("#"), at.source.text.splitlines()))
    found = _COMMAND.search(comment)
    return (
        f"the comment at the beginning of the manifest names a command that may make it: `{found[1]}`"
        if found
        else None
    )
