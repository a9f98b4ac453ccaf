"""Digests of Python code: of the project of an editable installation, of the package of a plugin."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from onnxbuild.digest import Digest, digest_bytes, digest_value
from onnxbuild.regular_files import read_regular

_MOST_BYTES = 16 << 20  # of one file
_MOST_FILES = 20_000  # a project that has more is not one: the home folder, say
_NO_CODE = frozenset({"__pycache__", "node_modules", "site-packages"})


def digest_of_code(folders: Iterable[str]) -> Digest:
    """The digest of all Python files below some folders, by content."""
    return digest_value(
        [[[name, _digest(os.path.join(folder, name))] for name in python_files(folder)] for folder in folders]
    )


def watched_code(folders: Iterable[str]) -> Iterator[str]:
    """The Python files below some folders, and the folders that have any: their stamps change with the code."""
    for folder in folders:
        files = [os.path.join(folder, name) for name in python_files(folder)]
        yield from dict.fromkeys(os.path.dirname(file) for file in files)
        yield from files


def python_files(folder: str) -> list[str]:
    """The Python files below a folder, relative to it, sorted; without environments and hidden folders."""
    files = []
    for name in _below(folder):
        files.append(name)
        if len(files) > _MOST_FILES:
            break
    return sorted(files)


def _below(root: str) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(one for one in folders if _has_code(os.path.join(folder, one), one))
        relative = os.path.relpath(folder, root)
        yield from (os.path.normpath(os.path.join(relative, name)) for name in sorted(names) if name.endswith(".py"))


def _has_code(path: str, name: str) -> bool:
    return name[0] != "." and name not in _NO_CODE and not os.path.exists(os.path.join(path, "pyvenv.cfg"))


def _digest(path: str) -> str:
    try:
        return digest_bytes(read_regular(path, _MOST_BYTES))
    except OSError as error:  # a link, or a file that is gone again: its state is part of the digest, too
        return error.strerror or "unreadable"
