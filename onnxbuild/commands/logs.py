"""`onnxbuild logs ID`: the log of an action's last run."""

from __future__ import annotations

import sys
from pathlib import Path

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.workspace import Session, session
from onnxbuild.diagnostics import DiagnosticError, did_you_mean, fault
from onnxbuild.execute.policy import log_file


def show_log(name: str, asked: Asked) -> int:
    """Print the log of an action; return the exit code. Errors: DiagnosticError."""
    with session(asked, write=False) as opened:
        action = action_named(name, opened, asked)
        path = log_file(opened.logs, action)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        hint = f"it was never run, or its result came from the store; `onnxbuild explain {action}` shows which"
        raise DiagnosticError(fault("OB018", f"{action} has no log in {opened.logs}", hint=hint)) from None
    sys.stdout.write(text)
    if not text:
        print(f"{path} is empty: the last run printed nothing", file=sys.stderr)
    return 0


def action_named(name: str, opened: Session, asked: Asked) -> str:
    """The id of an action, also by the name under which a target shares it. Errors: DiagnosticError OB018."""
    graph = opened.plan.whole
    action = graph.aliases.get(name, name)
    if action in graph.actions:
        return action
    near = did_you_mean(name, [*graph.actions, *graph.aliases, *(variant.name for variant in graph.variants)])
    raise DiagnosticError(fault("OB018", f"there is no action `{name}` in {asked.manifest}", hint=near))


def manifest_in_reach(command: str) -> str:
    """The manifest that was run last in this folder or one level below it: the one that an id belongs to.

    `command`: the command that needs it. Errors: DiagnosticError if nothing has been run here.
    """
    places = [Path(), *(entry for entry in Path().iterdir() if entry.is_dir())]
    notes = [place / ".onnxbuild" / "last" for place in places]
    known = [path for path in notes if path.is_file()]
    if not known:
        message = "no manifest has been run in this folder or one below it"
        raise DiagnosticError(fault("OB042", message, hint=f"name it: `onnxbuild {command} -m MANIFEST`"))
    newest = max(known, key=lambda path: path.stat().st_mtime)
    return str(newest.parent.parent / newest.read_text(encoding="utf-8").strip())
