"""The builds that a comparison names: a manifest, a saved report, delivered folders, or a revision of git."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from onnxbuild.commands.parsing.last_run import with_last_store
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.reporting.gathered import evidence_of_manifest
from onnxbuild.commands.reporting.git_reading import GitError, commit_of, output_of
from onnxbuild.commands.reporting.revisions import evidence_of_revision
from onnxbuild.deliver.provenance import PROVENANCE
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.regular_files import read_regular
from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.evidence.saved import Delivered, evidence_of, read_delivered, read_report

_LARGEST = 256 << 20  # bytes of a saved report
_DEPTH = 4  # `out/`, a folder per model, one per target; those of packages are in a folder of their own
_REVISION = re.compile(r"([\w@^~{}/.+-]+):(.+)")
_HINT = "a manifest, a report in JSON, a folder of outputs, REVISION:FILE of git, or a revision beside a manifest"
_HERE = "."  # beside a manifest: that manifest, as it is now


def build_named(name: str, asked: Asked) -> Evidence:
    """The evidence of a build. `asked`: the options of the command, for a manifest. A path comes before a revision.

    Errors: DiagnosticError OB093 for what is no build, OB700 and OB701 for a revision that the store has nothing of.
    """
    path = Path(name)
    if name == _HERE and asked.manifest:
        return evidence_of_manifest(with_last_store(asked)._replace(selectors=()))[0]
    if path.is_dir():
        return _of_folder(path)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return evidence_of_manifest(with_last_store(asked._replace(manifest=name, selectors=())))[0]
    if path.exists():
        return _of_text(_read(path), name)
    file = _REVISION.fullmatch(name)
    if file is not None and not name.startswith("-"):
        return _of_text(_of_revision(file[1], file[2]), name)
    return _at_revision(name, asked)


def _at_revision(name: str, asked: Asked) -> Evidence:
    if not asked.manifest:
        if commit_of(name, Path.cwd()) is None:
            raise _unknown(f"`{name}` does not exist")
        hint = f"name the manifest as well: `onnxbuild report MANIFEST --compare {name} …`"
        raise DiagnosticError(fault("OB093", f"`{name}` is a revision of git, which is no build by itself", hint=hint))
    found = evidence_of_revision(name, with_last_store(asked))
    if found is None:
        raise _unknown(f"`{name}` does not exist")
    return found


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
    try:
        return output_of(["cat-file", "blob", f"{revision}:{relative}"])
    except GitError as error:
        raise _unknown(f"`{revision}:{path}` does not exist: {error}") from None


def _unknown(message: str) -> DiagnosticError:
    return DiagnosticError(fault("OB093", message, hint=_HINT))
