"""What a manifest can reach: paths below its folder, and those that the user permits.

A manifest may come from somebody else, so a path in it is judged by where it leads, with all links resolved. Whether
a path outside exists makes no difference to the message. What an installed package contains (`package:`) is outside
this rule: the user installed it.
"""

from __future__ import annotations

import os
import re
import shlex

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.manifest.spec import Manifest
from onnxbuild.permissions import Permissions, is_below

# The layout of huggingface_hub's cache: files of a snapshot are links to `../../blobs/DIGEST`.
_SNAPSHOT = re.compile(r"(.*[\\/](?:models|datasets)--[^\\/]+)[\\/]snapshots[\\/][^\\/]+(?:[\\/].*)?")

# Folders that belong to a program of version control, and that a checkout of somebody else must not write to.
_OF_OTHERS = {".git", ".hg", ".svn", ".jj", ".bzr"}


class Reach:
    """The paths that one manifest may name."""

    def __init__(self, manifest: str, permissions: Permissions) -> None:
        """`manifest`: its path. The rule is about the folder in which it was found, not about where a link leads."""
        self.folder = os.path.realpath(os.path.dirname(os.path.abspath(manifest)))
        self._permissions = permissions

    def permits(self, real: str) -> bool:
        """Whether a path, with links resolved, is below the folder of the manifest or permitted by the user."""
        return is_below(real, self.folder) or self._permissions.permits_path(real)

    def problem(self, text: str, path: str, at: Span | None) -> Diagnostic | None:
        """OB060 for a path that leads outside; `text` is what a person wrote. None if it may be read."""
        try:
            real = os.path.realpath(path)
        except (OSError, ValueError) as error:
            return fault("OB016", f"`{text}` is not a path: {error}", span=at)
        return None if self.permits(real) else self._outside(text, path, real, at)

    def interpreter_problem(self, text: str, path: str, at: Span | None) -> Diagnostic | None:
        """As `problem` for an interpreter: in a virtual environment it is a link to that of the system."""
        folder, name = os.path.split(path)
        problem = self.problem(text, folder, at)
        if problem is None or problem.code != "OB060":
            return problem
        real = os.path.realpath(folder)
        return self._outside(text, path, os.path.join(real, name), at, permit=real)

    def link_problem(self, name: str, path: str, root: str, at: Span | None) -> Diagnostic | None:
        """OB060 for a link in a model folder that leads out of it, and not into the Hub cache that it belongs to."""
        real, real_root = os.path.realpath(path), os.path.realpath(root)
        snapshot = _SNAPSHOT.fullmatch(real_root)
        homes = [real_root, *([os.path.join(snapshot[1], "blobs")] if snapshot else [])]
        if any(is_below(real, home) for home in homes) or self._permissions.permits_path(real):
            return None
        message = f"`{name}` is a link that leads out of the model folder, to `{real}`"
        return fault("OB060", message, span=at, hint=f"copy the file into the folder, or {_permit(real)}")

    def _outside(self, text: str, path: str, real: str, at: Span | None, permit: str | None = None) -> Diagnostic:
        leads = "" if os.path.abspath(path) == real else f": it leads to `{real}`"
        message = f"`{text}` is outside the folder of the manifest{leads}"
        return fault("OB060", message, span=at, hint=_permit(permit or real))


def store_problem(manifest: Manifest) -> Diagnostic | None:
    """OB060 for a `store: {path: …}` that leads out of the manifest's folder: a store is written and swept.

    A permission to read a folder is no permission to write there, so only the command line names such a store.
    """
    written = manifest.store.path
    if written is None:
        return None
    path = own_store(manifest.path, written)
    reach = Reach(manifest.path, Permissions())
    problem = reach.problem(written, path, manifest.store_at)
    if problem is None and is_of_version_control(os.path.realpath(path)[len(reach.folder) :]):
        message = f"the store `{written}` is inside a folder of version control"
        return fault("OB060", message, span=manifest.store_at, hint="write the name of another folder")
    if problem is None or problem.code != "OB060":
        return problem
    message = f"the store `{written}` is outside the folder of the manifest"
    hint = f"name it yourself, with `--store {shlex.quote(os.path.realpath(path))}` or ONNXBUILD_STORE"
    return fault("OB060", message, span=manifest.store_at, hint=hint)


def is_of_version_control(path: str) -> bool:
    """Whether a path has a folder of version control among its parts."""
    return not _OF_OTHERS.isdisjoint(path.lower().split(os.sep))


def own_store(manifest: str, written: str) -> str:
    """The folder that `store: {path: …}` means."""
    return os.path.join(os.path.dirname(os.path.abspath(manifest)), os.path.expanduser(written))


def _permit(real: str) -> str:
    return f"permit it with `--allow-path {shlex.quote(real)}`, if you know what it is for"
