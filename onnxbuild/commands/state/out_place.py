"""Where outputs may be written: not through a link, not over the store, nor over what runs keep beside the manifest."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from onnxbuild.commands.state.locations import out_folder, own_store
from onnxbuild.commands.state.trusted_state import state_beside
from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.manifest.spec import Manifest
from onnxbuild.permissions import is_below
from onnxbuild.regular_files import check_folder, is_folder, is_link


def refuse_link(manifest: str, out: str | None, option: str = "--out") -> None:
    """Refuse an out/ that is a link which the user does not name, because a link in a checkout can lead anywhere.

    Errors: DiagnosticError OB090.
    """
    place = out_folder(manifest, out)
    if out is None and os.path.islink(place):
        hint = f"name the folder that it leads to with `{option} DIR`, or remove the link `{place}`"
        raise DiagnosticError(fault("OB090", f"the output folder `{place}` is a symbolic link", hint=hint))


def check_folders(out: Path, folders: Collection[tuple[str, str]], option: str = "--out") -> None:
    """Refuse what stands in the place of the output folder, or of a folder below it that a run would replace.

    `folders`: model and name of each. `out`: absolute; it may be a link that the user names. A link below it is never
    followed, since it can lead anywhere. `option`: by which the command takes another folder.
    Errors: DiagnosticError OB090 for links, and OB647 for files.
    """
    try:
        check_folder(out)
    except OSError as error:
        hint = f"remove what is in its place, or name another folder with `{option} DIR`"
        message = f"the output folder `{out}` cannot be used: {error.strerror}"
        raise DiagnosticError(fault("OB647", message, hint=hint)) from None
    if not os.path.isdir(out):
        return
    models = {model: os.path.join(out, model) for model, _ in folders}
    below = [*models.values(), *(os.path.join(models[model], name) for model, name in folders)]
    faults = [_misplaced(place, option) for place in below if not is_folder(place) and os.path.lexists(place)]
    if faults:
        raise DiagnosticError(faults)


def _misplaced(place: str, option: str) -> Diagnostic:
    if is_link(place):
        message = f"the output folder `{place}` is a symbolic link"
        return fault("OB090", message, hint="remove the link: a run replaces the folder, and does not follow a link")
    message = f"the output folder `{place}` cannot be used: {os.strerror(errno.ENOTDIR)}"
    return fault("OB647", message, hint=f"move the file elsewhere, or name another folder with `{option} DIR`")


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
