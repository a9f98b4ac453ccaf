"""How the requirements of a toolchain become packages with versions and hashes: pip resolves them, once.

pip runs with `-I` in an empty folder, so it uses no `pip/`, `json.py` or archive in the working folder. The user's own
configuration of pip (index, certificates, proxy) applies. pip gets names with versions after `--`, and wheels only,
because a source distribution runs its author's code while it is resolved.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import os
import platform
import re
import site
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.manifest.requirement_texts import normal_form
from onnxbuild.passed_variables import of_pip
from onnxbuild.planning.toolchains import LockedPackage, LockedToolchain, normalized, python_of

_NOISE = ("Ignored the following", "ResolutionImpossible")

# The worker side of the protocol needs this in addition to its frameworks.
_ALWAYS = ("msgspec",)


def resolve_toolchain(name: str, requirements: Sequence[str], sdist: Sequence[str] = ()) -> LockedToolchain:
    """Ask pip which files the requirements resolve to. Errors: DiagnosticError OB105."""
    texts = [normal_form(text) for text in requirements]
    with tempfile.TemporaryDirectory(prefix="onnxbuild-") as scratch, _pip() as pip:
        report = Path(scratch) / "report.json"
        options = [
            "--quiet", "--dry-run", "--ignore-installed", "--no-input", "--disable-pip-version-check",
            "--report", str(report), *formats(sdist),
        ]  # fmt: skip
        command = [*pip, "install", *options, "--", *texts, *_ALWAYS]
        done = _finished(command, _empty_folder(scratch))
        if done.returncode != 0:
            raise DiagnosticError(_unresolvable(name, done.stderr))
        try:
            resolved = msgspec.json.decode(report.read_bytes(), type=_Report)
        except (OSError, msgspec.MsgspecError) as error:
            raise DiagnosticError(_unresolvable(name, f"ERROR: pip gave no report that can be read: {error}")) from None
    packages = sorted((one.locked() for one in resolved.install), key=lambda package: normalized(package.name))
    return LockedToolchain(tuple(packages))


def _finished(command: list[str], folder: str | Path) -> subprocess.CompletedProcess[str]:
    """A command that has ended; one that cannot be started has failed."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, cwd=folder, env=of_pip(os.environ)
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, "", f"ERROR: {command[0]} cannot be started: {error.strerror}")


def formats(sdist: Sequence[str]) -> list[str]:
    """The options of pip that allow wheels only, except for packages that it builds from their source distribution."""
    return ["--only-binary", ":all:", *(part for name in sdist for part in ("--no-binary", name))]


def _empty_folder(scratch: str) -> Path:
    folder = Path(scratch) / "empty"
    folder.mkdir()
    return folder


class _Metadata(Struct):
    name: str
    version: str


class _Archive(Struct):
    hashes: dict[str, str] = {}


class _Download(Struct):
    url: str = ""
    archive_info: _Archive | None = None


class _Install(Struct):
    metadata: _Metadata
    download_info: _Download

    def locked(self) -> LockedPackage:
        archive = self.download_info.archive_info
        sha256 = archive.hashes.get("sha256", "") if archive else ""
        sdist: bool | UnsetType = UNSET if self.download_info.url.endswith(".whl") else True
        return LockedPackage(self.metadata.name, self.metadata.version, sha256, sdist)


class _Report(Struct):
    """The part of pip's installation report (https://pip.pypa.io/en/stable/reference/installation-report/) we read."""

    install: list[_Install]


@contextlib.contextmanager
def _pip() -> Iterator[list[str]]:
    """A pip command: this interpreter's, or that of a new environment if it has none (uv makes such interpreters)."""
    if _has_pip():
        yield [sys.executable, "-I", "-m", "pip"]
        return
    with tempfile.TemporaryDirectory(prefix="onnxbuild-") as folder:
        _finished([sys.executable, "-I", "-m", "venv", folder], folder)  # without pip, the next command fails
        yield [str(python_of(Path(folder))), "-I", "-m", "pip"]


def _has_pip() -> bool:
    """Whether `-I` finds pip: among the packages of this interpreter, not in a folder of the user or of PYTHONPATH."""
    packages = [one for one in sys.path if one.endswith("-packages") and one != site.getusersitepackages()]
    return importlib.machinery.PathFinder.find_spec("pip", packages) is not None


def _unresolvable(name: str, errors: str) -> Diagnostic:
    messages = (line.removeprefix("ERROR: ") for line in errors.splitlines() if line.startswith("ERROR:"))
    # pip lists every existing version twice, and its last line only says that nothing was found.
    lines = [re.sub(r" \(from versions: .*\)$", "", line) for line in messages if not line.startswith(_NOISE)]
    reason = (lines[0] if lines else "pip gave no reason").rstrip(".")
    hint = f"check the requirements, and which wheels `pip download` finds for Python {platform.python_version()}"
    if "ResolutionImpossible" in errors or "conflicting dependencies" in errors:
        hint = "the requirements of one toolchain must be compatible: give the other model its own toolchain"
    elif re.search(r"\(from versions: none\)", errors):
        hint += "; a package without a wheel has to be named in the toolchain's `sdist:`"
    return fault("OB105", f"toolchain `{name}` cannot be resolved: {reason}", hint=hint)
