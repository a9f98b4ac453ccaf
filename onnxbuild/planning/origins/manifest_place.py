"""The name of a manifest that is the same on every machine, for `onnxbuild.json`."""

from __future__ import annotations

import os

from onnxbuild.publishing.other_publication import TOP

_MARKS = (".git", ".hg", ".jj")  # what is in the top folder of a repository; `.git` of a worktree is a file


def place_of_manifest(path: str) -> str:
    """The path of a manifest from the top of its repository, such as `./web/m.yaml`; its file name if it is in none."""
    folder, name = os.path.split(os.path.abspath(path))
    folder = os.path.realpath(folder)
    top = _top(folder)
    place = name if top is None else TOP + os.path.relpath(os.path.join(folder, name), top).replace(os.sep, "/")
    return os.fsencode(place).decode("utf-8", "replace")


def _top(folder: str) -> str | None:
    while not any(os.path.lexists(os.path.join(folder, mark)) for mark in _MARKS):
        folder, below = os.path.dirname(folder), folder
        if folder == below:
            return None
    return folder
