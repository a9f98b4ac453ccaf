"""The builds that a comparison names: a manifest, a saved report, delivered folders, or a file of a git revision."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.reporting.gathered import evidence_of_manifest
from onnxbuild.deliver.provenance import PROVENANCE
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.regular_files import read_regular
from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.evidence.saved import Delivered, evidence_of, read_delivered, read_report

_LARGEST = 256 << 20  # bytes of a saved report
_DEPTH = 3  # `out/`, a folder per model, a folder per target
_REVISION = re.compile(r"([\w@^~{}/.+-]+):(.+)")
# Plain reading: no hook, no monitor of files, and no fetch of what a partial clone lacks.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never")
_HINT = "a manifest, a report in JSON, a folder of outputs, or REVISION:FILE of git"


def build_named(name: str, asked: Asked) -> Evidence:
    """The evidence of a build. `asked`: the options of the command, for a manifest. Errors: DiagnosticError OB093."""
    path = Path(name)
    if path.is_dir():
        return _of_folder(path)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return evidence_of_manifest(asked._replace(manifest=name, selectors=()))[0]
    if path.exists():
        return _of_text(_read(path), name)
    revision = _REVISION.fullmatch(name)
    if revision is None or name.startswith("-"):
        raise _unknown(f"`{name}` does not exist")
    return _of_text(_of_revision(revision[1], revision[2]), name)


def _of_folder(folder: Path) -> Evidence:
    found = sorted(_delivered_below(folder, _DEPTH))
    if not found:
        raise _unknown(f"the folder `{folder}` has no `{PROVENANCE}`, and so no build")
    return evidence_of([_described(_read(path), str(path)) for path in found], str(folder))


def _delivered_below(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / PROVENANCE).is_file():
        yield folder / PROVENANCE
    elif depth > 1:
        for below in folder.iterdir():
            if below.is_dir() and not below.is_symlink():
                yield from _delivered_below(below, depth - 1)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _LARGEST)
    except OSError as error:
        raise _unknown(f"`{path}` cannot be read: {error.strerror or error}") from None


def _of_text(text: bytes, name: str) -> Evidence:
    try:
        return read_report(text)
    except (ValueError, RecursionError):
        return evidence_of([_described(text, name)], name)


def _described(text: bytes, name: str) -> Delivered:
    try:
        return read_delivered(text)
    except (ValueError, RecursionError):
        message = f"`{name}` is neither a report in JSON nor an `{PROVENANCE}`"
        raise _unknown(message) from None


def _of_revision(revision: str, path: str) -> bytes:
    """The content of a file at a revision, as git has it."""
    relative = path if path.startswith(("/", "./", "../")) else f"./{path}"
    command = [*_GIT, "cat-file", "blob", f"{revision}:{relative}"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise _unknown(f"git cannot be started: {error.strerror}") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ") or "git failed"
        raise _unknown(f"`{revision}:{path}` does not exist: {reason}")
    return done.stdout


def _unknown(message: str) -> DiagnosticError:
    return DiagnosticError(fault("OB093", message, hint=_HINT))
