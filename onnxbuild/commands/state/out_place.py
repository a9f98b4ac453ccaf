"""Where outputs may be written: not over the store, nor over what runs keep beside the manifest."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable

from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.permissions import is_below


def check_default_out(out: str | os.PathLike[str], manifest: str) -> None:
    """Refuse `out` beside a manifest where it is a link that leads out of that folder: it may have come with it.

    Whoever wants to write through a link names where it leads. Errors: DiagnosticError OB060.
    """
    folder = os.path.dirname(os.path.abspath(manifest))
    if os.fspath(out) != os.path.join(folder, "out") or not os.path.islink(out):
        return
    real = os.path.realpath(out)
    if not is_below(real, os.path.realpath(folder)):
        message = f"`{out}` is a link that leads out of the folder of the manifest, to `{real}`"
        hint = f"to write there, name it: `--out {shlex.quote(real)}`"
        raise DiagnosticError(fault("OB060", message, hint=hint))


def check_out(out: str | os.PathLike[str], models: Iterable[str], kept: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse an output folder that would mix outputs with one of the folders `kept`.

    A model is written to the folder of its name below `out`, and other files in that folder are removed.
    Errors: DiagnosticError OB064.
    """
    real = os.path.realpath(out)
    written = [os.path.join(real, model) for model in models]
    for folder in kept:
        place = os.path.realpath(folder)
        if is_below(real, place) or any(is_below(place, model) for model in written):
            message = f"the output folder `{out}` and `{folder}` would contain each other's files"
            raise DiagnosticError(fault("OB064", message, hint="name another folder with `--out DIR`"))
