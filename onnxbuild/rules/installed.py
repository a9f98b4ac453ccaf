"""What is installed in this interpreter, looked up once per distribution: a look-up takes some milliseconds."""

from __future__ import annotations

import functools
from importlib import metadata


@functools.cache
def installed_version(name: str) -> str | None:
    """The version of a distribution, or None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
