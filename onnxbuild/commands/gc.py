"""`onnxbuild gc`: free what no manifest's latest results need."""

from __future__ import annotations

import sys

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.workspace import loaded, store_root
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.store.collect import Freed, Limits, collect
from onnxbuild.store.store import Store


def gc(asked: Asked, limits: Limits, *, dry_run: bool) -> int:
    """Collect, and print what was freed; return the exit code. Errors: DiagnosticError."""
    root = store_root(asked, loaded(asked))
    if not root.exists():
        print(f"no store exists at {root} yet")
        return 0
    with Store(root, claims=False) as store:
        try:
            freed = collect(store, limits, dry_run=dry_run, on_wait=_say_wait)
        except OSError as error:
            message = f"the store {root} cannot be collected: {error.strerror}"
            raise DiagnosticError(fault("OB040", message), exit_code=1) from None
    print(in_words(freed, dry_run=dry_run))
    return 0


def in_words(freed: Freed, *, dry_run: bool) -> str:
    """The result of a collection, in one line."""
    verb = "would free" if dry_run else "freed"
    words = (
        f"{verb} {freed.bytes / 1e6:.1f} MB: {freed.blobs} files of {freed.traces} results; {freed.kept} results kept"
    )
    if freed.in_use:
        words += f", {freed.in_use} of them in use by running builds"
    if freed.scopes:
        words += f"; {freed.scopes} manifests no longer exist"
    return words


def _say_wait() -> None:
    print("waiting for a run that is storing a result", file=sys.stderr)
