"""`onnxbuild gc`: free what no manifest's latest results need."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.state.locations import store_root
from onnxbuild.commands.workspace import loaded
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.report.terminal import fitted
from onnxbuild.report.wording import counted, size_in_words
from onnxbuild.runners.toolchains.unused_toolchains import FreedToolchains, free_toolchains, needed_toolchains
from onnxbuild.store.collect import Freed, Limits, collect
from onnxbuild.store.store import Store


def gc(asked: Asked, limits: Limits, *, dry_run: bool) -> int:
    """Collect, and print what was freed; return the exit code. Errors: DiagnosticError."""
    root = store_root(asked, loaded(asked))
    if not root.exists():
        print(f"no store exists at {root} yet")
        return 0
    with Store(root, readonly=dry_run, claims=False) as store:
        try:
            freed = collect(store, limits, dry_run=dry_run, on_wait=_say_wait)
            manifests = {os.path.realpath(asked.manifest), *filter(os.path.lexists, store.traces.all_last())}
            toolchains = _free_toolchains(root, manifests, dry_run=dry_run)
        except OSError as error:
            message = f"the store {root} cannot be collected: {error.strerror}"
            raise DiagnosticError(fault("OB040", message), exit_code=1) from None
    print(fitted(in_words(freed, dry_run=dry_run), sys.stdout))
    if toolchains != FreedToolchains():
        print(fitted(of_toolchains(toolchains, dry_run=dry_run), sys.stdout))
    return 0


def _free_toolchains(root: Path, manifests: set[str], *, dry_run: bool) -> FreedToolchains:
    try:
        needed = needed_toolchains(manifests)
    except DiagnosticError as error:
        print(f"no toolchain is removed: {error}", file=sys.stderr)
        return FreedToolchains()
    return free_toolchains(root, needed, dry_run=dry_run)


def of_toolchains(freed: FreedToolchains, *, dry_run: bool) -> str:
    """What was removed of toolchains, in one line."""
    verb = "would remove" if dry_run else "removed"
    words = f"{verb} {counted(freed.count, 'toolchain')} that no lock file names"
    if freed.count:
        words += f", {size_in_words(freed.bytes)}"
    return words + (f"; {freed.in_use} in use by running builds" if freed.in_use else "")


def in_words(freed: Freed, *, dry_run: bool) -> str:
    """The result of a collection, in one line."""
    verb = "would free" if dry_run else "freed"
    words = (
        f"{verb} {size_in_words(freed.bytes)}: {counted(freed.blobs, 'file')} of {counted(freed.traces, 'result')}; "
        f"{counted(freed.kept, 'result')} kept"
    )
    if freed.in_use:
        words += f", {freed.in_use} of them in use by running builds"
    if freed.scopes:
        words += f"; {counted(freed.scopes, 'manifest')} no longer exist{'s' if freed.scopes == 1 else ''}"
    return words


def _say_wait() -> None:
    print("waiting for a run that is storing a result", file=sys.stderr)
