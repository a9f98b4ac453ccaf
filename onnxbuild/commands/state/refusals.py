"""What a run refuses before it starts anything. `run` and `plan` stop at the first of these, lint names all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.sharing.open_remote import check_sharing
from onnxbuild.commands.state.locations import chosen_store, out_folder, store_root
from onnxbuild.commands.state.out_place import check_out, refuse_place
from onnxbuild.diagnostics import Diagnostic, DiagnosticError
from onnxbuild.manifest.spec import Manifest


def refusals(asked: Asked, manifest: Manifest) -> Iterator[Diagnostic]:
    """The faults of the store, the output folder, the keys and the interpreters with which a run would begin."""
    yield from _raised(lambda: _check_store(asked, manifest))
    yield from _raised(lambda: refuse_place(asked.manifest, asked.out))
    yield from _raised(lambda: _check_out(asked, manifest))
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


def _check_store(asked: Asked, manifest: Manifest) -> None:
    root = store_root(asked, manifest)
    if os.path.exists(root):  # else a run creates it; a name that no file can have is a fault of its own
        from onnxbuild.store.marker import check_store

        check_store(root, readonly=True)


def _check_out(asked: Asked, manifest: Manifest) -> None:
    models = (model.name for model in manifest.models)
    check_out(out_folder(asked.manifest, asked.out), models, manifest, chosen_store(asked, manifest))
