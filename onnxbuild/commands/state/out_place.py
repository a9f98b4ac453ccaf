"""Where outputs may be written: not through a link, not over the store, nor over what runs keep beside the manifest."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from onnxbuild.commands.state.locations import out_folder, own_store
from onnxbuild.commands.state.trusted_state import state_beside
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.manifest.spec import Manifest
from onnxbuild.permissions import is_below


def refuse_place(manifest: str, out: str | None) -> None:
    """Refuse an out/ that cannot be a folder, or that is a link which the user does not name.

    A link in a checkout can lead anywhere. Errors: DiagnosticError OB090, or OB643 for a file.
    """
    place = out_folder(manifest, out)
    file = next((one for one in (place, *place.parents) if os.path.lexists(one)), None)
    if file is not None and os.path.exists(file) and not os.path.isdir(file):
        hint = "name a folder with `--out DIR`; a run creates it"
        raise DiagnosticError(fault("OB643", f"the output folder `{place}`: `{file}` is a file", hint=hint))
    if out is None and os.path.islink(place):
        hint = f"name the folder that it leads to with `--out DIR`, or remove the link `{place}`"
        raise DiagnosticError(fault("OB090", f"the output folder `{place}` is a symbolic link", hint=hint))


def check_out(out: str | Path, models: Iterable[str], manifest: Manifest, store: Path) -> None:
    """Refuse an output folder that would mix outputs with the store or with the state folder.

    A model is written to the folder of its name below `out`, and other files in that folder are removed.
    Errors: DiagnosticError OB064.
    """
    real = os.path.realpath(out)
    written = [os.path.join(real, model) for model in models]
    for folder in (store, state_beside(manifest.path)):
        place = os.path.realpath(folder)
        if is_below(real, place) or any(is_below(place, model) for model in written):
            message = f"the output folder `{out}` and `{folder}` would contain each other's files"
            at = manifest.store_at if folder == own_store(manifest.path, manifest) else None
            hint = "name another folder with `--out DIR`" + (", or another store" if at else "")
            raise DiagnosticError(fault("OB064", message, span=at, hint=hint))
