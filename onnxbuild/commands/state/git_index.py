"""Whether git tracks a folder, read from git's index without starting git.

A checkout may come from somebody else, and git would run what its configuration names (`core.fsmonitor`). The format:
https://git-scm.com/docs/index-format. Versions 2 and 3 write every path whole, so that most answers need one search
through the bytes. In version 4 an entry leaves out what its path shares with the one before it.

Light: a run with nothing to do imports this module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from onnxbuild.regular_files import read_regular

_LARGEST_INDEX = 1 << 30
_LARGEST_LINK = 1 << 12  # bytes of a `.git` file, which names a folder
_HEADER, _STATS, _FLAGS = 12, 40, 2  # bytes; an entry has stats, the name of its object, flags, and its path
_NAMES = (20, 32)  # bytes of the name of an object: SHA-1, or SHA-256
_EXTENDED = 0x4000  # the flag of an entry that has two more bytes of flags
_LONGEST = 0xFFF  # the largest length that the flags can say
_IGNORES_CASE = sys.platform in {"win32", "darwin"}


class UnreadableIndex(Exception):  # noqa: N818 - the caller decides what it means
    """The index of a repository cannot be read or has an unknown format; the text says which."""


def tracks(folder: str) -> bool:
    """Whether the index of the repository around a folder has a file below it. Errors: UnreadableIndex."""
    real = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(folder))), os.path.basename(folder))
    root = _repository_around(os.path.dirname(real))
    if root is None:
        return False
    below = os.path.relpath(real, root).replace(os.sep, "/")
    wanted = _comparable(os.fsencode(below))
    return any(_has_below(index, wanted) for index in _indexes(os.path.join(root, ".git")))


def _comparable(path: bytes) -> bytes:
    return path.lower() if _IGNORES_CASE else path


def _repository_around(folder: str) -> str | None:
    """The folder that contains `.git`, this one or one above it."""
    while not os.path.lexists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


def _indexes(git: str) -> Iterator[bytes]:
    """The index of a repository, with the shared ones that a split index refers to."""
    try:
        if os.path.isfile(git):  # of a worktree or a submodule: `gitdir: PATH`
            named = read_regular(os.path.realpath(git), _LARGEST_LINK).decode("utf-8", "surrogateescape")
            git = os.path.join(os.path.dirname(git), named.partition(":")[2].strip())
        names = [name for name in os.listdir(git) if name == "index" or name.startswith("sharedindex.")]
        yield from (read_regular(os.path.realpath(os.path.join(git, name)), _LARGEST_INDEX) for name in names)
    except (FileNotFoundError, NotADirectoryError):
        return  # a folder named `.git` that is no repository
    except (OSError, ValueError) as error:
        raise UnreadableIndex(str(error)) from None


def _has_below(index: bytes, folder: bytes) -> bool:
    version = int.from_bytes(index[4:8], "big")
    if len(index) < _HEADER + _NAMES[0] or index[:4] != b"DIRC" or version not in {2, 3, 4}:
        raise UnreadableIndex("its index has an unknown format")
    try:
        return _in_whole_paths(index, folder) if version < 4 else _in_short_paths(index, folder)  # noqa: PLR2004
    except (IndexError, ValueError):
        raise UnreadableIndex("its index is damaged") from None


def _is_below(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")


def _in_whole_paths(index: bytes, folder: bytes) -> bool:
    """Search for the bytes of the path; what precedes the path of an entry is its length."""
    text = _comparable(index)
    at = text.find(folder)
    while at >= 0:
        end = text.index(b"\0", at)
        has_length = min(end - at, _LONGEST) in {_length(index, at - _FLAGS), _length(index, at - 2 * _FLAGS)}
        if has_length and _is_below(text[at:end], folder):
            return True
        at = text.find(folder, at + 1)
    return False


def _length(index: bytes, at: int) -> int:
    """The length of a path, from the flags of its entry. For a very long path, they contain only the maximum."""
    return (index[at] << 8 | index[at + 1]) & _LONGEST


def _in_short_paths(index: bytes, folder: bytes) -> bool:
    """Read every entry: its path is the one before without its last bytes, and others in their place."""
    names = (size for size in _NAMES if _first_path_fits(index, size))
    size = next(names, _NAMES[0])
    entry, path = _HEADER, b""
    for _ in range(int.from_bytes(index[8:12], "big")):
        start = _path_start(index, entry, size)
        dropped, start = _number(index, start)
        end = index.index(b"\0", start)
        path = path[: len(path) - dropped] + index[start:end]
        if _is_below(_comparable(path), folder):
            return True
        entry = end + 1
    return False


def _path_start(index: bytes, entry: int, name_size: int) -> int:
    flags = entry + _STATS + name_size
    return flags + (2 * _FLAGS if index[flags] << 8 & _EXTENDED else _FLAGS)


def _first_path_fits(index: bytes, name_size: int) -> bool:
    """Whether object names have this size: then the first path has the length that its flags say."""
    if not int.from_bytes(index[8:12], "big"):
        return True
    start = _number(index, _path_start(index, _HEADER, name_size))[1]
    length = index.find(b"\0", start) - start
    return length > 0 and _length(index, _HEADER + _STATS + name_size) == min(length, _LONGEST)


def _number(index: bytes, at: int) -> tuple[int, int]:
    """A number in the variable length of git's packs (`OFS_DELTA`), and where it ends."""
    byte = index[at]
    value = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = index[at]
        value = (value + 1) << 7 | (byte & 0x7F)
    return value, at + 1
