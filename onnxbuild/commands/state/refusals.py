"""What a run refuses before it starts anything. `run` and `plan` stop at the first of these, lint names all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import structs

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.sharing.open_remote import check_sharing
from onnxbuild.commands.state.locations import chosen_store, out_folder, own_store, store_root
from onnxbuild.commands.state.out_place import check_folders, check_out, refuse_link
from onnxbuild.commands.state.own_outputs import check_sources
from onnxbuild.diagnostics import Diagnostic, DiagnosticError
from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.regular_files import check_folder


def refusals(asked: Asked, manifest: Manifest, graph: ActionGraph) -> Iterator[Diagnostic]:
    """The faults of the store, the output folder, the keys and the interpreters with which a run would begin."""
    out = out_folder(asked.manifest, asked.out)
    yield from _raised(lambda: check_store(asked, manifest))
    yield from _raised(lambda: refuse_link(asked.manifest, asked.out))
    yield from _raised(lambda: _check_out(out, asked, manifest))
    if asked.out is not None or not os.path.islink(out):  # else what is below the link is not looked at
        yield from _raised(lambda: check_folders(out, graph.folders))
    yield from _raised(lambda: check_sources(out, graph, manifest))
    yield from _raised(lambda: check_sharing(asked, manifest))
    for toolchain in manifest.toolchains.values():
        if toolchain.python and any(model.toolchain == toolchain.name for model in manifest.models):
            from onnxbuild.commands.state.named_environments import existing

            yield from _raised(lambda toolchain=toolchain: existing(toolchain, manifest))  # type: ignore[misc]


def _raised(check: Callable[[], object]) -> Iterator[Diagnostic]:
    try:
        check()
    except DiagnosticError as error:
        yield from error.diagnostics


def check_store(asked: Asked, manifest: Manifest) -> None:
    """Check that the place of the store is one, or can become one. Errors: DiagnosticError OB040."""
    root = store_root(asked, manifest)
    if _is_new(root):
        return
    from onnxbuild.store.marker import check_place

    try:
        check_place(root)
    except DiagnosticError as error:
        at = manifest.store_at if root == own_store(manifest.path, manifest) else None
        located = [structs.replace(one, span=one.span or at) for one in error.diagnostics]
        raise DiagnosticError(located, exit_code=error.exit_code) from None


def _is_new(root: Path) -> bool:
    """Whether a run creates the store. Known without an import of SQLite, which only a store needs."""
    try:
        check_folder(root)
    except OSError:
        return False
    return not os.path.lexists(root)


def _check_out(out: Path, asked: Asked, manifest: Manifest) -> None:
    models = (model.name for model in manifest.models)
    check_out(out, models, manifest, chosen_store(asked, manifest))
