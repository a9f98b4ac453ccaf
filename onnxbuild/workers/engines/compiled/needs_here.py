"""Whether what a backend needs is where this worker runs: in its own environment, and on its machine."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from onnxbuild.needs.step_needs import first_absent, need_name


def absent_here(needs: Iterable[str]) -> str | None:
    """The first of some needs that is absent here, as a person calls it; None if all are there."""
    absent = need_absent_here(needs)
    return None if absent is None else need_name(absent)


def need_absent_here(needs: Iterable[str]) -> str | None:
    """The first of some needs that is absent here; None if all are there."""
    return first_absent(needs, version_here)


def version_here(distribution: str) -> str | None:
    """The version of a distribution in the environment of this worker; None if it is absent."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
