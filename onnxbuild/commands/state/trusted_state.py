"""Whether a state folder can be trusted. One that came with a checkout may claim anything about results.

Light: a run with nothing to do imports this module.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from onnxbuild.commands.state.git_index import UnreadableIndex, tracks

if TYPE_CHECKING:
    from onnxbuild.diagnostics import Diagnostic

# Entries of a state folder with entries of their own that no link may replace.
_STORES = ("store",)


def state_beside(manifest: str) -> str:
    """`.onnxbuild/` beside a manifest: what a run keeps besides its outputs."""
    return os.path.join(os.path.dirname(os.path.abspath(manifest)), ".onnxbuild")


def state_problem(folder: str | os.PathLike[str]) -> Diagnostic | None:
    """OB062 for a state folder or a store that must not be trusted."""
    reason = distrust(os.fspath(folder))
    if reason is None:
        return None
    from onnxbuild.diagnostics import fault

    hint = "remove it, or name a store of your own with `--store DIR`"
    return fault("OB062", f"`{os.path.relpath(folder)}` {reason}", hint=hint)


def distrust(folder: str) -> str | None:
    """Why a state folder, or a store, must not be trusted, as the end of a sentence; None if it may be."""
    try:
        status = os.lstat(folder)
    except OSError:
        return None  # a missing folder will be created
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not _is_ours(status):
        return "belongs to another user"
    return _odd_entry(folder) or _tracked(folder)


def _is_ours(status: os.stat_result) -> bool:
    """Whether this user or root owns a folder. On Windows, stats contain no owner."""
    return not hasattr(os, "geteuid") or status.st_uid in {os.geteuid(), 0}


def _odd_entry(folder: str, prefix: str = "") -> str | None:
    """An entry of a state folder or of its store that no run creates: a link, a FIFO, a socket, a device."""
    try:
        with os.scandir(folder) as scan:
            entries = list(scan)
    except OSError:
        return None
    for entry in entries:
        if entry.is_symlink():
            return f"contains the symbolic link `{prefix}{entry.name}`"
        if not entry.is_file() and not entry.is_dir():
            return f"contains `{prefix}{entry.name}`, which is neither a file nor a folder"
        if entry.name in _STORES and (below := _odd_entry(entry.path, f"{entry.name}/")):
            return below
    return None


def _tracked(folder: str) -> str | None:
    try:
        return "is tracked by git, so that it came with the checkout" if tracks(folder) else None
    except UnreadableIndex as error:
        return f"is inside a git repository that cannot be read ({error})"
