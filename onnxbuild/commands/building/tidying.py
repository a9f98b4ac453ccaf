"""The output folder after a run: finds folders that no target needs."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from onnxbuild.commands.building.finished import Finished
from onnxbuild.commands.parsing.options import Asked, RunOptions
from onnxbuild.commands.state.locations import out_folder
from onnxbuild.commands.workspace import Session
from onnxbuild.deliver.delivered import Pruned, left_over, prune, record
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.report.terminal import fitted
from onnxbuild.report.wording import folder_from_here
from onnxbuild.secrets import redacted
from onnxbuild.store.store import Store

_MOST_NAMED = 10


def tidy(finished: Finished) -> None:
    """Record what was delivered, then remove or mention what the manifest no longer names.

    Errors: DiagnosticError OB091 for a folder that could not be removed.
    """
    options, opened = finished.options, finished.opened
    out = out_folder(options.asked.manifest, options.out)
    asked = options.asked
    record(opened.state, opened.scope, out, finished.result.deliveries, defines=asked.defines)
    # A remembered plan holds as long as the manifest is unchanged, and may be a part of it.
    unnamed = [] if finished.before else _unnamed(opened, out, asked)
    if options.prune and finished.result.exit_code == 0:
        _prune(unnamed, out, opened.store)
    else:
        _mention(unnamed, out, asked.manifest, options.repeated)


def mention_unnamed(opened: Session, asked: Asked, out: str | None) -> None:
    """Name the folders that a run with `--prune` would remove."""
    place = out_folder(asked.manifest, out)
    _mention(_unnamed(opened, place, asked), place, asked.manifest, RunOptions(asked, out=out).repeated)


def _unnamed(opened: Session, out: Path, asked: Asked) -> list[str]:
    """The variants that the manifest has delivered to `out` and no longer names."""
    named = {f"{model}/{name}" for model, name in opened.plan.whole.folders}
    return left_over(opened.state, opened.scope, out, named, defines=asked.defines)


def _mention(unnamed: list[str], out: Path, manifest: str, options: list[str]) -> None:
    command = shlex.join(["onnxbuild", "run", manifest, *options, "--prune"])
    for name in unnamed[:_MOST_NAMED]:
        _say(redacted(f"{manifest} no longer names {folder_from_here(out / name)}: `{command}` removes it"))
    if len(unnamed) > _MOST_NAMED:
        _say(f"and {len(unnamed) - _MOST_NAMED} more such folders")


def _say(line: str) -> None:
    print(fitted(line, sys.stderr), file=sys.stderr)


def _prune(unnamed: list[str], out: Path, store: Store) -> None:
    faults = []
    for name in unnamed:
        try:
            _say(_in_words(prune(out, name, store), out / name))
        except OSError as error:
            faults.append(fault("OB091", f"{folder_from_here(out / name)} could not be removed: {error.strerror}"))
    if faults:
        raise DiagnosticError(faults, exit_code=1)


def _in_words(done: Pruned | None, folder: Path) -> str:
    if done is None:
        return f"{folder_from_here(folder)} is no longer a folder that onnxbuild wrote, and stays"
    shown = folder_from_here(folder)
    if not os.path.isdir(folder):
        return f"removed {shown}"
    edited = f"edited files ({', '.join(f'`{one}`' for one in done.edited)})" if done.edited else ""
    kept = " and ".join(filter(None, [edited, "files of others" if done.others else ""])) or "folders of others"
    return f"removed the models from {shown}, which still has {kept}"
