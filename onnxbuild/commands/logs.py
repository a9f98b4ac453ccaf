"""`onnxbuild logs ID`: the log of an action's last run, and which run that was."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.workspace import Session, session
from onnxbuild.diagnostics import DiagnosticError, did_you_mean, fault
from onnxbuild.execute.policy import log_file
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.regular_files import open_regular
from onnxbuild.report.wording import path_from_here
from onnxbuild.store.traces import Last, Ran

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LARGEST = 64 << 20  # bytes of a log that are shown
_TOLERANCE = 2.0  # seconds by which the clocks of a file system and of this machine may differ


def show_log(name: str, asked: Asked) -> int:
    """Print the log of an action to stdout and its origin to stderr; return the exit code. Errors: DiagnosticError."""
    with session(asked, write=False) as opened:
        lasts = opened.store.traces.last(opened.scope)
        action = _action_in(name, opened.plan.whole, lasts) or action_named(name, opened, asked)
        path, last = log_file(opened.logs, action), lasts.get(action)
    try:
        with open_regular(path) as file:
            text = file.read(_LARGEST).decode("utf-8", "replace")
            written = os.fstat(file.fileno()).st_mtime
    except OSError:
        hint = f"it was never run, or its result came from the store; `onnxbuild explain {action}` shows which"
        logs = path_from_here(opened.logs)
        raise DiagnosticError(fault("OB018", f"{action} has no log in {logs}", hint=hint)) from None
    for line in _origin(action, last, written, empty=not text):
        print(line, file=sys.stderr, flush=True)
    sys.stdout.write(readable(text))
    return 0


def readable(log: str) -> str:
    """A log without the colours of the libraries, and with each state of a progress bar on its own line."""
    return _COLOURS.sub("", log).replace("\r\n", "\n").replace("\r", "\n")


def _action_in(name: str, graph: ActionGraph, lasts: Mapping[str, Last]) -> str | None:
    """The only action of a model or a variant that failed in its last run; None if `name` names neither of the two.

    Errors: DiagnosticError OB018 with the ids to choose from.
    """
    variants = [one for one in graph.delivered if name in {one.name, one.model}]
    actions = dict.fromkeys(action for one in variants for action in one.members)
    if not actions:
        return None
    failed = [action for action in actions if action in lasts and lasts[action].outcome == "failed"]
    if len(failed) != 1:
        ids = ", ".join(f"`{action}`" for action in failed or actions)
        hint = f"name the one that failed: {ids}" if failed else f"name one of its actions: {ids}"
        raise DiagnosticError(fault("OB018", f"`{name}` has more than one log", hint=hint))
    print(f"{failed[0]} failed in its last run", file=sys.stderr)
    return failed[0]


def _origin(action: str, last: Last | None, written: float, *, empty: bool) -> Iterator[str]:
    """Which run a log is from, and for an empty one, where to read on."""
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(written))
    ran = last.ran if last is not None and last.ran is not None and _is_of(last.ran, written) else None
    if last is None or ran is None:
        is_cut = last is not None and last.outcome == "skipped"
        ended = ", when the run was interrupted" if is_cut else "; how that run ended is not recorded"
        yield f"log of {at}{ended}"
    else:
        yield f"log of {at}, when it {_ended(ran)}{_since(ran, last)}"
    if empty:
        how = f" and {'failed' if ran.outcome == 'failed' else 'succeeded'} in {ran.seconds:.1f} s" if ran else ""
        yield f"the log is empty: the action printed nothing{how}; `onnxbuild explain {action}` shows its facts"


def _is_of(ran: Ran, written: float) -> bool:
    """Whether a log that was written then is of this run: a later run may have been interrupted, or not recorded."""
    return ran.at - ran.seconds - _TOLERANCE <= written <= ran.at + _TOLERANCE


def _ended(ran: Ran) -> str:
    if ran.outcome != "failed":
        return "succeeded"
    code = (ran.message or "").partition(" ")[0]
    return f"failed ({code})" if code else "failed"


def _since(ran: Ran, last: Last) -> str:
    """What a reader must know about the current result if it is not that of the log."""
    current = last.outcome == "failed" if ran.outcome == "failed" else last.key == ran.key
    if current:
        return ""
    return "; the current result is another one" + (" (a hit)" if last.outcome == "hit" else "")


def action_named(name: str, opened: Session, asked: Asked) -> str:
    """The id of an action, also by the name under which a target shares it. Errors: DiagnosticError OB018."""
    graph = opened.plan.whole
    action = graph.aliases.get(name, name)
    if action in graph.actions:
        return action
    near = did_you_mean(name, [*graph.actions, *graph.aliases, *(variant.name for variant in graph.delivered)])
    raise DiagnosticError(fault("OB018", f"there is no action `{name}` in {asked.manifest}", hint=near))
