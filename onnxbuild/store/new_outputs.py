"""Prepares what a worker left for the store: regular files with valid names, and copies instead of links.

A link among the outputs is followed only within the outputs of the action and to the files that were its inputs. Any
other target is a file that the action does not own. The store moves what it is given, so it would take that file away.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from onnxbuild.store.files import clone_file, replace_file, walk_files

_MOST_BYTES_OF_A_NAME = 1024


class UnfitOutput(Exception):  # noqa: N818 - carries the reason to the one place that reports it
    """An output cannot be stored; the text says which entry of it, and why. `is_link`: a link leads elsewhere."""

    def __init__(self, message: str, *, is_link: bool = False) -> None:
        self.is_link = is_link
        super().__init__(message)


def make_fit(outputs: Mapping[str, Path], inputs: Path) -> None:
    """Replace the links in the outputs by what they lead to, and check that all else is regular files.

    `inputs`: the folder of the action's inputs. Errors: UnfitOutput, OSError.
    """
    links = []
    for port, folder in outputs.items():
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise UnfitOutput(f"the worker replaced the folder of output `{port}`", is_link=folder.is_symlink())
        for name, entry in walk_files(folder):
            _check_name(name, port)
            if entry.is_symlink():
                links.append((Path(entry.path), name, port))
            elif not entry.is_file(follow_symlinks=False):
                raise UnfitOutput(f"the worker left `{name}` in output `{port}`, which is not a regular file")
    if links:
        allowed = _Allowed(outputs.values(), inputs)
        targets = [(link, allowed.target(link, name, port)) for link, name, port in links]
        for link, target in targets:  # only now, when no link is left to be checked
            _replace_by_copy(link, target)


def _check_name(name: str, port: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise UnfitOutput(f"the worker left `{shown}` in output `{port}`: its name is not UTF-8") from None
    if size > _MOST_BYTES_OF_A_NAME:
        raise UnfitOutput(
            f"the worker left a file in output `{port}` whose name has {size} bytes, more than {_MOST_BYTES_OF_A_NAME}:"
            f" `{name[:80]}…`"
        )


class _Allowed:
    """The files that links may lead to: below the outputs, below the inputs, and what the inputs themselves link to."""

    def __init__(self, outputs: Iterable[Path], inputs: Path) -> None:
        self._folders = [os.path.realpath(folder) for folder in (*outputs, inputs)]
        entries = walk_files(inputs) if inputs.exists() else ()
        self._files = {os.path.realpath(entry.path) for _, entry in entries if entry.is_symlink()}

    def target(self, link: Path, name: str, port: str) -> Path:
        """The regular file that a link leads to. Errors: UnfitOutput."""
        what = f"the worker left `{name}` in output `{port}`, a link"
        try:
            target = os.path.realpath(link, strict=True)
        except OSError:
            raise UnfitOutput(f"{what} that leads to nothing", is_link=True) from None
        if not (target in self._files or any(target.startswith(folder + os.sep) for folder in self._folders)):
            raise UnfitOutput(f"{what} to {target}, which is neither an output nor an input of it", is_link=True)
        if not stat.S_ISREG(os.lstat(target).st_mode):
            raise UnfitOutput(f"{what} to {target}, which is not a regular file", is_link=True)
        return Path(target)


def _replace_by_copy(link: Path, target: Path) -> None:
    copy = link.with_name(f".copy-{uuid.uuid4().hex[:8]}")
    clone_file(target, copy)
    replace_file(copy, link)
