"""Where a command keeps its results and writes its outputs: the store, the state folder, and out/."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.state.trusted_state import distrust, state_beside, state_problem
from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.manifest import reach
from onnxbuild.manifest.spec import Manifest

if TYPE_CHECKING:
    from onnxbuild.store.store import Store


def store_root(asked: Asked, manifest: Manifest) -> Path:
    """Where the store is: `--store`, then ONNXBUILD_STORE, then the manifest's `store:`, then beside the manifest.

    Errors: DiagnosticError for a store that nobody but the manifest or the checkout names: OB060 if it is outside the
    manifest's folder, OB062 if it may have come with the checkout.
    """
    root = chosen_store(asked, manifest)
    if not _named(asked):
        problem = reach.store_problem(manifest) or state_problem(state_folder(asked.manifest)) or state_problem(root)
        if problem is not None:
            raise DiagnosticError(problem)
    return root


def chosen_store(asked: Asked, manifest: Manifest) -> Path:
    """The same folder, unchecked."""
    named = _named(asked)
    return Path(named).absolute() if named else own_store(asked.manifest, manifest)


def _named(asked: Asked) -> str | None:
    return asked.store or os.environ.get("ONNXBUILD_STORE")


def own_store(path: str, manifest: Manifest) -> Path:
    """The store of a manifest where neither the command line nor the environment names another one."""
    written = manifest.store.path
    return Path(reach.own_store(path, written)) if written else state_folder(path) / "store"


def out_folder(manifest: str, out: str | None) -> Path:
    """Where outputs are written: `--out`, or out/ beside the manifest."""
    return Path(out).absolute() if out else Path(manifest).absolute().parent / "out"


def state_folder(manifest: str) -> Path:
    """`.onnxbuild/` beside a manifest: what a run keeps besides its outputs."""
    return Path(state_beside(manifest))


def make_state_folder(manifest: str) -> None:
    """Create `.onnxbuild/` beside a manifest if it is missing, with a `.gitignore`: `git add -A` must not stage it.

    If that fails, another folder is used, or what needs the folder reports it.
    """
    folder = state_folder(manifest)
    with contextlib.suppress(OSError):
        folder.mkdir()
        (folder / ".gitignore").write_text("# Created by onnxbuild.\n*\n", encoding="utf-8")


def state_for(manifest: str, store: Store) -> Path:
    """That folder, or the store's if that one is not writable or not trusted: logs must go somewhere."""
    beside = state_folder(manifest)
    where = beside if beside.exists() else beside.parent
    return beside if os.access(where, os.W_OK) and not distrust(str(beside)) else store.root
