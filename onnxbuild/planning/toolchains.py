"""Toolchains: the Python environments in which workers run, and their exact packages as the lock file holds them.

A toolchain is either an interpreter that exists (`python: path`) or a list of requirements, which pip resolves once;
the lock keeps name, version and SHA-256 of every file, for one Python and one platform, and names no index: where the
files come from is a matter of the machine's pip configuration, what they are is not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.digest import Digest, digest_value

_NOISE = ("Ignored the following", "ResolutionImpossible")

# The worker side of the protocol needs this beside its frameworks.
_ALWAYS = ("msgspec",)


class LockedPackage(Struct, frozen=True, forbid_unknown_fields=True):
    """One distribution at one version; `sha256` of the file that pip chose."""

    name: str
    version: str
    sha256: str


class LockedToolchain(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that an environment is made of."""

    packages: tuple[LockedPackage, ...]

    @property
    def digest(self) -> Digest:
        """Names the environment: equal packages for an equal Python are one environment, whoever asks for them."""
        return digest_value({"packages": self.packages, "python": python_tag()})

    def version(self, name: str) -> str:
        """The locked version of a distribution, or `absent`."""
        wanted = normalized(name)
        return next((p.version for p in self.packages if normalized(p.name) == wanted), "absent")


def python_tag() -> str:
    """The Python and the platform that a resolution is for: `cpython-3.11 linux-x86_64`."""
    version = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
    return f"{version} {sysconfig.get_platform()}"


def toolchain_key(requirements: Sequence[str]) -> str:
    """The entry of a toolchain in the lock: what was asked for, and for which Python and platform."""
    return f"{python_tag()}: {' '.join(sorted(requirements))}"


def normalized(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve_toolchain(name: str, requirements: Sequence[str]) -> LockedToolchain:
    """Ask pip which files the requirements come to. Errors: DiagnosticError OB105."""
    with _pip() as pip, tempfile.TemporaryDirectory(prefix="onnxbuild-") as folder:
        report = Path(folder) / "report.json"
        command = [
            *pip, "install", "--quiet", "--dry-run", "--ignore-installed", "--no-input", "--disable-pip-version-check",
            "--report", str(report), *requirements, *_ALWAYS,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not report.exists():
            raise DiagnosticError(_unresolvable(name, done.stderr))
        found = msgspec.json.decode(report.read_bytes(), type=_Report)
    packages = sorted(
        (LockedPackage(i.metadata.name, i.metadata.version, i.sha256) for i in found.install),
        key=lambda package: normalized(package.name),
    )
    return LockedToolchain(tuple(packages))


class _Metadata(Struct):
    name: str
    version: str


class _Archive(Struct):
    hashes: dict[str, str] = {}


class _Download(Struct):
    archive_info: _Archive | None = None


class _Install(Struct):
    metadata: _Metadata
    download_info: _Download

    @property
    def sha256(self) -> str:
        return self.download_info.archive_info.hashes.get("sha256", "") if self.download_info.archive_info else ""


class _Report(Struct):
    """The part of pip's installation report (https://pip.pypa.io/en/stable/reference/installation-report/) we read."""

    install: list[_Install]


@contextlib.contextmanager
def _pip() -> Iterator[list[str]]:
    """A pip to ask: this interpreter's, or that of a fresh environment where it has none (uv makes such)."""
    if importlib.util.find_spec("pip") is not None:
        yield [sys.executable, "-m", "pip"]
        return
    with tempfile.TemporaryDirectory(prefix="onnxbuild-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
        yield [str(Path(folder) / "bin" / "python"), "-m", "pip"]


def _unresolvable(name: str, errors: str) -> Diagnostic:
    said = (line.removeprefix("ERROR: ") for line in errors.splitlines() if line.startswith("ERROR:"))
    # pip lists every version that there is, twice; and its last line only says that there was no answer.
    lines = [re.sub(r" \(from versions: .*\)$", "", line) for line in said if not line.startswith(_NOISE)]
    reason = (lines[0] if lines else "pip gave no reason").rstrip(".")
    hint = f"check the requirements, and what `pip download` finds for Python {platform.python_version()}"
    if "ResolutionImpossible" in errors or "conflicting dependencies" in errors:
        hint = "requirements of one toolchain must fit together: give the other model a toolchain of its own"
    return fault("OB105", f"toolchain `{name}` cannot be resolved: {reason}", hint=hint)
