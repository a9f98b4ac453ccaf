"""Toolchains: the Python environments in which workers run, and their exact packages in the lock file.

A toolchain is either an existing interpreter (`python: path`) or a list of requirements, which pip resolves once. The
lock keeps the name, version and SHA-256 of every file, for one Python and one platform. It names no index: the pip
configuration of the machine says where files come from, the lock says what they are.
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

# The worker side of the protocol needs this in addition to its frameworks.
_ALWAYS = ("msgspec",)


class LockedPackage(Struct, frozen=True, forbid_unknown_fields=True):
    """One distribution at one version; `sha256` of the file that pip chose."""

    name: str
    version: str
    sha256: str


class LockedToolchain(Struct, frozen=True, forbid_unknown_fields=True):
    """All packages of an environment."""

    packages: tuple[LockedPackage, ...]

    @property
    def digest(self) -> Digest:
        """The name of the environment: toolchains with equal packages and an equal Python share one environment."""
        return digest_value({"packages": self.packages, "python": python_tag()})

    def version(self, name: str) -> str:
        """The locked version of a distribution, or `absent`."""
        wanted = normalized(name)
        return next((p.version for p in self.packages if normalized(p.name) == wanted), "absent")


def python_tag() -> str:
    """The Python and the platform of a resolution: `cpython-3.11 linux-x86_64`."""
    version = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"
    return f"{version} {sysconfig.get_platform()}"


def toolchain_key(requirements: Sequence[str]) -> str:
    """The key of a toolchain in the lock: its requirements, and the Python and platform that they are resolved for."""
    return f"{python_tag()}: {' '.join(sorted(requirements))}"


def normalized(name: str) -> str:
    """A distribution's name, normalized as in PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve_toolchain(name: str, requirements: Sequence[str]) -> LockedToolchain:
    """Ask pip which files the requirements resolve to. Errors: DiagnosticError OB105."""
    with _pip() as pip, tempfile.TemporaryDirectory(prefix="onnxbuild-") as folder:
        report = Path(folder) / "report.json"
        command = [
            *pip, "install", "--quiet", "--dry-run", "--ignore-installed", "--no-input", "--disable-pip-version-check",
            "--report", str(report), *requirements, *_ALWAYS,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not report.exists():
            raise DiagnosticError(_unresolvable(name, done.stderr))
        resolved = msgspec.json.decode(report.read_bytes(), type=_Report)
    packages = sorted(
        (LockedPackage(i.metadata.name, i.metadata.version, i.sha256) for i in resolved.install),
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
    """A pip command: this interpreter's, or that of a new environment if it has none (uv makes such interpreters)."""
    if importlib.util.find_spec("pip") is not None:
        yield [sys.executable, "-m", "pip"]
        return
    with tempfile.TemporaryDirectory(prefix="onnxbuild-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
        yield [str(python_of(Path(folder))), "-m", "pip"]


def python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / "Scripts" / "python.exe" if sys.platform == "win32" else environment / "bin" / "python"


def _unresolvable(name: str, errors: str) -> Diagnostic:
    messages = (line.removeprefix("ERROR: ") for line in errors.splitlines() if line.startswith("ERROR:"))
    # pip lists every existing version twice, and its last line only says that nothing was found.
    lines = [re.sub(r" \(from versions: .*\)$", "", line) for line in messages if not line.startswith(_NOISE)]
    reason = (lines[0] if lines else "pip gave no reason").rstrip(".")
    hint = f"check the requirements, and what `pip download` finds for Python {platform.python_version()}"
    if "ResolutionImpossible" in errors or "conflicting dependencies" in errors:
        hint = "the requirements of one toolchain must be compatible: give the other model its own toolchain"
    return fault("OB105", f"toolchain `{name}` cannot be resolved: {reason}", hint=hint)
