"""The note about the last run in a folder: commands without a manifest look at what that run looked at.

The first line of `.onnxbuild/last` is the manifest's name; earlier versions wrote no more. Then come the store, if it
was not the manifest's own, and the names that `-D` set. Their values may be secrets, so they are not written.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from onnxbuild.commands.parsing.options import Asked, asked_for
from onnxbuild.commands.state.trusted_state import distrust
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.regular_files import read_regular
from onnxbuild.store.files import write_atomically

_STORE, _DEFINED = "store: ", "defined: "
_LARGEST_NOTE = 1 << 20


class LastRun(NamedTuple):
    """What the last run in a folder was about. `manifest` is relative to the current folder."""

    manifest: str
    store: str | None = None
    defined: tuple[str, ...] = ()


def note_last_run(state: Path, asked: Asked, store: Path | None) -> None:
    """Write the note; if the folder cannot be written, only that is lost. `store`: None for the manifest's own."""
    lines = [Path(asked.manifest).name]
    lines += [f"{_STORE}{store}"] if store else []
    lines += [f"{_DEFINED}{name}" for name, _ in asked.defines]
    with contextlib.suppress(OSError):
        state.mkdir(exist_ok=True)
        write_atomically(state / "last", "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def last_run(command: str) -> LastRun:
    """The last run in this folder or one level below it. `command`: the one that needs it.

    Errors: DiagnosticError OB042 if nothing has been run here, or if its manifest no longer exists.
    """
    places = [Path(), *(entry for entry in Path().iterdir() if entry.is_dir())]
    known = [path for path in (place / ".onnxbuild" / "last" for place in places) if _is_believed(path)]
    last = _read(max(known, key=lambda path: path.stat().st_mtime)) if known else None
    if last is None:
        message = "no manifest has been run in this folder or one below it"
        raise DiagnosticError(fault("OB042", message, hint=f"name it: `onnxbuild {command} -m MANIFEST`"))
    if not os.path.lexists(last.manifest):
        message = f"the last run here was of `{last.manifest}`, which no longer exists"
        raise DiagnosticError(fault("OB042", message, hint=f"name another: `onnxbuild {command} -m MANIFEST`"))
    return last


def follow_last_run(options: argparse.Namespace) -> None:
    """Complete the options with the manifest and the store of the last run, and print what was assumed to stderr.

    Errors: DiagnosticError OB042 if no manifest is named and nothing has been run here.
    """
    if options.manifest is None:
        options.manifest = last_run(f"{options.name} {options.subject}").manifest
    options.store = with_last_store(asked_for(options)).store


def with_last_store(asked: Asked) -> Asked:
    """The options of a command that reads results, with the store of the manifest's last run if they name none.

    What was assumed is printed to stderr.
    """
    last = _last_run_of(asked.manifest)
    if last is None:
        return asked
    if last.store and not (asked.store or os.environ.get("ONNXBUILD_STORE")):
        asked = asked._replace(store=last.store)
        print(f"looking at the store of the last run: {last.store}", file=sys.stderr)
    if missing := [name for name in last.defined if name not in dict(asked.defines)]:
        words = " ".join(f"-D {name}=…" for name in missing)
        print(f"the last run had `{words}`; without it, this describes the manifest's own values", file=sys.stderr)
    return asked


def _last_run_of(manifest: str) -> LastRun | None:
    """The note beside a manifest, if the last run there was of this manifest."""
    note = Path(manifest).absolute().parent / ".onnxbuild" / "last"
    last = _read(note) if _is_believed(note) else None
    return last if last is not None and Path(last.manifest).name == Path(manifest).name else None


def _is_believed(note: Path) -> bool:
    """Whether a note exists and is this user's own: one that came with a checkout could name any store."""
    return note.is_file() and not note.is_symlink() and distrust(str(note.parent)) is None


def _read(note: Path) -> LastRun | None:
    try:
        text = read_regular(note, _LARGEST_NOTE).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    name, *rest = text.splitlines() or [""]
    return LastRun(
        manifest=str(note.parent.parent / Path(name.strip()).name),
        store=next(iter(_after(_STORE, rest)), None),
        defined=tuple(_after(_DEFINED, rest)),
    )


def _after(label: str, lines: Iterable[str]) -> list[str]:
    return [line.removeprefix(label) for line in lines if line.startswith(label)]
