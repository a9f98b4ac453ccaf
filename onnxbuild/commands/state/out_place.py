"""Where outputs may be written: not over the store, nor over what runs keep beside the manifest."""

from __future__ import annotations

import os
from collections.abc import Iterable

from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.permissions import is_below


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
