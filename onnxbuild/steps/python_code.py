"""Digests of Python code that may change without a new version: of a plugin, or of an editable project."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from onnxbuild.regular_files import read_regular

if TYPE_CHECKING:  # it needs blake3, which the environment of a worker may lack
    from onnxbuild.digest import Digest

_MOST_BYTES = 16 << 20  # of one file
_MOST_FILES = 20_000  # a folder with more is not a project; it may be the home folder
_NO_CODE = frozenset({"__pycache__", "node_modules", "site-packages"})


def digest_of_code(folders: Iterable[str], may_read: Callable[[str], bool] = lambda _path: True) -> Digest:
    """The digest of all Python files below some folders, and of modules of one file, by content.

    `may_read`: whether a file that a link leads to may be read; by default every one.
    """
    from onnxbuild.digest import digest_value

    content = [
        [
            [_encodable(name), _digest(os.path.join(folder, name).rstrip(os.sep), may_read)]
            for name in python_files(folder)
        ]
        for folder in folders
    ]
    return digest_value(content)


def _encodable(name: str) -> str:
    """A name of a file as text that UTF-8 can express; on Linux it may be any bytes."""
    return name if name.isprintable() else ascii(name)


def watched_code(folders: Iterable[str]) -> Iterator[str]:
    """The Python files below some folders, and all folders that may get one: their stamps change with the code."""
    for folder in folders:
        if not os.path.isdir(folder):
            yield from (os.path.dirname(folder), folder)
        for place, names in _bounded(folder):
            yield place
            yield from (os.path.join(place, name) for name in names)


def module_place(name: str, folders: Iterable[str]) -> str | None:
    """The folder of a package, or the file of a module, in the first of some folders that has one of that name."""
    for folder in folders:
        place = os.path.join(folder, name)
        if os.path.isdir(place):
            return place
        if os.path.isfile(f"{place}.py"):
            return f"{place}.py"
    return None


def own_module_place(name: str) -> str | None:
    """The same for this interpreter, which may also find modules by the hooks of editable installations."""
    from importlib.util import find_spec

    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ())
    return places[0] if places else spec.origin


def python_files(folder: str) -> list[str]:
    """The Python files below a folder, relative to it, sorted; without environments and hidden folders.

    For a module of one file, that is the empty name.
    """
    if not os.path.isdir(folder):
        return [""]
    return sorted(
        os.path.relpath(os.path.join(place, name), folder) for place, names in _bounded(folder) for name in names
    )


def _bounded(root: str) -> Iterator[tuple[str, list[str]]]:
    """Each folder that may have code, with the names of its Python files, until there are too many files."""
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(one for one in folders if _may_have_code(os.path.join(folder, one), one))
        files = sorted(name for name in names if name.endswith(".py"))[: _MOST_FILES - count]
        yield folder, files
        count += len(files)
        if count >= _MOST_FILES:
            return


def _may_have_code(path: str, name: str) -> bool:
    return name[0] != "." and name not in _NO_CODE and not os.path.exists(os.path.join(path, "pyvenv.cfg"))


def _digest(path: str, may_read: Callable[[str], bool]) -> str:
    """The digest of a file, or what is in its place, which is part of the digest of the code, too."""
    from onnxbuild.digest import digest_bytes

    real = os.path.realpath(path)
    if os.path.islink(path) and not may_read(real):
        return f"a link to {_encodable(real)}"
    try:
        return digest_bytes(read_regular(real, _MOST_BYTES))
    except OSError as error:
        return error.strerror or "unreadable"
