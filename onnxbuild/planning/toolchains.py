"""Toolchains: the Python environments in which workers run, and their exact packages in the lock file.

A toolchain is either an existing interpreter (`python: path`) or a list of requirements, which pip resolves once. The
lock keeps the name, version and SHA-256 of every file, for one Python and one platform. It names no index: the pip
configuration of the machine says where files come from, the lock says what they are.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from msgspec import UNSET, Struct, UnsetType

from onnxbuild.digest import Digest, digest_value


class LockedPackage(Struct, frozen=True, forbid_unknown_fields=True):
    """One distribution at one version; `sha256` of the file that pip chose.

    `sdist` is true if that file is a source distribution, and unset for a wheel, so that digests stay as they were.
    """

    name: str
    version: str
    sha256: str
    sdist: bool | UnsetType = UNSET


class LockedToolchain(Struct, frozen=True, forbid_unknown_fields=True):
    """All packages of an environment."""

    packages: tuple[LockedPackage, ...]

    @property
    def digest(self) -> Digest:
        """The name of the environment: toolchains with equal packages and an equal Python share one environment."""
        return self.digest_for(python_tag())

    def digest_for(self, tag: str) -> Digest:
        """The name of the environment that the Python and the platform of this tag create."""
        return digest_value({"packages": self.packages, "python": tag})

    def version(self, name: str) -> str:
        """The locked version of a distribution, or `absent`."""
        wanted = normalized(name)
        return next((p.version for p in self.packages if normalized(p.name) == wanted), "absent")


def python_tag() -> str:
    """The Python and the platform of a resolution: `cpython-3.11 linux-x86_64`."""
    version = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
    return f"{version} {sysconfig.get_platform()}"


def toolchain_key(requirements: Sequence[str], sdist: Sequence[str] = ()) -> str:
    """The key of a toolchain in the lock: its requirements, and the Python and platform that they are resolved for."""
    built = f" (sdist: {' '.join(sorted(sdist))})" if sdist else ""
    return f"{python_tag()}: {' '.join(sorted(requirements))}{built}"


def normalized(name: str) -> str:
    """A distribution's name, normalized as in PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / "Scripts" / "python.exe" if sys.platform == "win32" else environment / "bin" / "python"
