"""Whether what a backend needs is on this machine: distributions, programs on the PATH, files of drivers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from importlib import metadata

from onnxbuild.steps.kind import CODE_OF, FILE, PROGRAM


def absent_here(needs: Iterable[str]) -> str | None:
    """The first of some needs that this machine lacks, as a person calls it; None if it has all."""
    return next((shown(one) for one in needs if not _is_here(one)), None)


def shown(need: str) -> str:
    """A need without the word that says what it is."""
    return need.removeprefix(PROGRAM).removeprefix(FILE)


def version_here(distribution: str) -> str | None:
    """The version of an installed distribution; None if it is absent."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _is_here(need: str) -> bool:
    if need.startswith(CODE_OF):
        return True
    if need.startswith(PROGRAM):
        return shutil.which(need.removeprefix(PROGRAM)) is not None
    if need.startswith(FILE):
        return os.path.exists(need.removeprefix(FILE))
    return version_here(need) is not None
