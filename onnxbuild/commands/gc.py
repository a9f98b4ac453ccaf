"""`onnxbuild gc`: free what no manifest's latest results reach."""

from __future__ import annotations

from onnxbuild.commands.session import Asked, store_root
from onnxbuild.manifest.load import load_manifest
from onnxbuild.steps import all_kinds
from onnxbuild.store.collect import Limits, collect
from onnxbuild.store.store import Store


def gc(asked: Asked, limits: Limits, *, dry_run: bool) -> int:
    """Collect and say what was freed; the exit code. Errors: DiagnosticError."""
    manifest = load_manifest(asked.manifest, kinds=all_kinds(), defines=asked.defines)
    with Store(store_root(asked, manifest)) as store:
        freed = collect(store, limits, dry_run=dry_run)
    verb = "would free" if dry_run else "freed"
    print(
        f"{verb} {freed.bytes / 1e6:.1f} MB: {freed.blobs} files of {freed.traces} results; {freed.kept} results kept"
    )
    return 0
