"""The builds that a manifest describes at a revision of git, as far as the store has them. Nothing is built.

The manifest's folder is written as the revision has it to a temporary folder, and planned there. What git does not
track (models that it ignores, for example) has no revision, so it is taken as it is now. The results are then found in
the store by their keys, which depend on content and not on places.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from msgspec import structs

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.reporting.git_reading import GitError, blobs_of, commit_of, untracked_in, write_blobs
from onnxbuild.commands.state.locations import store_root
from onnxbuild.commands.workspace import loaded, session
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.evidence.gathering import gather
from onnxbuild.report.wording import path_from_here

_STATE = ".onnxbuild"


def evidence_of_revision(revision: str, asked: Asked) -> Evidence | None:
    """The evidence of the manifest at a revision; None if git knows no such revision.

    Errors: DiagnosticError OB700 if nothing of it is in the store, OB701 if it cannot be planned.
    """
    manifest = Path(asked.manifest).absolute()
    commit = commit_of(revision, manifest.parent) if manifest.parent.is_dir() else None
    if commit is None:
        return None
    with tempfile.TemporaryDirectory(prefix="onnxbuild-revision-") as folder:
        try:
            _write(commit, manifest, Path(folder))
        except (GitError, OSError) as error:
            raise _not_planned(revision, asked, str(error)) from None
        return _found(revision, asked, Path(folder) / manifest.name)


def _write(commit: str, manifest: Path, into: Path) -> None:
    """Write the folder as a commit has it, with what git does not track as it is now. Errors: GitError, OSError."""
    folder = manifest.parent
    blobs = blobs_of(commit, folder)
    if all(blob.name != manifest.name for blob in blobs):
        raise GitError("the revision has no such file")
    write_blobs(blobs, folder, into)
    for name in untracked_in(folder):
        if not name.startswith(_STATE) and not os.path.lexists(into / name):
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            _take(folder / name, into / name)


def _take(path: Path, to: Path) -> None:
    """The same file or folder in another place, without a copy. What cannot be linked is missing there."""
    with contextlib.suppress(OSError):
        if path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):  # another file system
                os.link(path, to)
                return
        to.symlink_to(path)


def _found(revision: str, asked: Asked, manifest: Path) -> Evidence:
    """What the store has of a manifest in a temporary folder."""
    there = asked._replace(
        manifest=str(manifest),
        store=str(store_root(asked, loaded(asked))),
        allow_paths=(*asked.allow_paths, str(Path(asked.manifest).absolute().parent)),
        selectors=(),
    )
    name = f"{path_from_here(asked.manifest)} at {revision}"
    try:
        with session(there, write=False) as opened:
            outcomes = opened.preview()
            hits = {one: outcome for one, outcome in outcomes.items() if outcome.outcome == "hit"}
            found = gather(opened.graph, hits, opened.store.traces.find, source=name, ended=None)
    except DiagnosticError as error:
        raise _not_planned(revision, asked, error.diagnostics[0].message) from None
    kept = tuple(one for one in found.variants if any(step.kind != "fetch" for step in one.steps))
    if not kept:
        raise _nothing(revision, asked)
    return structs.replace(found, variants=kept, absent=tuple(name for name in outcomes if name not in hits))


def _nothing(revision: str, asked: Asked) -> DiagnosticError:
    message = f"the store has no result of `{path_from_here(asked.manifest)}` at `{revision}`"
    hint = f"build it there with this store: `git worktree add ../earlier {revision}`, then `run` with `--store`"
    return DiagnosticError(fault("OB700", message, hint=hint))


def _not_planned(revision: str, asked: Asked, reason: str) -> DiagnosticError:
    message = f"`{path_from_here(asked.manifest)}` cannot be planned as `{revision}` has it: {reason}"
    hint = "name a report in JSON or a folder of outputs of that build instead"
    return DiagnosticError(fault("OB701", message, hint=hint))
