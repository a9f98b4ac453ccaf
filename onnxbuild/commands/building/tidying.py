"""The output folder after a run: finds folders that no target needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from onnxbuild.commands.building.finished import Finished
from onnxbuild.commands.state.locations import out_folder
from onnxbuild.commands.workspace import Session
from onnxbuild.deliver.delivered import Pruned, left_over, prune, record
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.report.terminal import fitted
from onnxbuild.store.store import Store

_MOST_NAMED = 10


def tidy(finished: Finished) -> None:
    """Record what was delivered, then remove or mention what the manifest no longer names.

    Errors: DiagnosticError OB091 for a folder that could not be removed.
    """
    options, opened = finished.options, finished.opened
    out = out_folder(options.asked.manifest, options.out)
    record(opened.state, opened.scope, out, finished.result.deliveries)
    # A remembered plan holds as long as the manifest is unchanged, and may be a part of it.
    unnamed = [] if finished.before else _unnamed(opened, out)
    if options.prune and finished.result.exit_code == 0:
        _prune(unnamed, out, opened.store)
    else:
        _mention(unnamed, out, options.asked.manifest)


def mention_unnamed(opened: Session, manifest: str, out: str | None) -> None:
    """Name the folders that a run with `--prune` would remove."""
    place = out_folder(manifest, out)
    _mention(_unnamed(opened, place), place, manifest)


def _unnamed(opened: Session, out: Path) -> list[str]:
    """The variants that the manifest has delivered to `out` and no longer names."""
    return left_over(opened.state, opened.scope, out, {variant.name for variant in opened.plan.whole.variants})


def _mention(unnamed: list[str], out: Path, manifest: str) -> None:
    for name in unnamed[:_MOST_NAMED]:
        _say(f"{manifest} no longer names {out / name}: `onnxbuild run {manifest} --prune` removes it")
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
            faults.append(fault("OB091", f"{out / name} could not be removed: {error.strerror}"))
    if faults:
        raise DiagnosticError(faults, exit_code=1)


def _in_words(done: Pruned | None, folder: Path) -> str:
    if done is None:
        return f"{folder} is no longer a folder that onnxbuild wrote, and stays"
    if not os.path.isdir(folder):
        return f"removed {folder}"
    edited = f" and edited ones ({', '.join(f'`{one}`' for one in done.edited)})" if done.edited else ""
    return f"removed the models from {folder}, which still has files of others{edited}"
