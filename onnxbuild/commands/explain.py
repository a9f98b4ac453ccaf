"""`onnxbuild explain ID|CODE`: why an action was built or a hit; what a code means."""

from __future__ import annotations

import re
from pathlib import Path

from onnxbuild.commands.workspace import Asked, session
from onnxbuild.diagnostics import DiagnosticError, did_you_mean, fault
from onnxbuild.execute.events import Outcome, Reason
from onnxbuild.execute.preview import preview
from onnxbuild.report.progress.lines import warning_lines
from onnxbuild.report.result.reasons import explain_action, reason_in_words
from onnxbuild.rules import ALL
from onnxbuild.store.traces import Last

_CODE = re.compile(r"OBE?\d+", re.IGNORECASE)


def explain(subject: str, asked: Asked) -> int:
    """Print what is known of an action or a code; the exit code. Errors: DiagnosticError."""
    print(explain_code(subject) if is_code(subject) else explain_id(subject, asked))
    return 0


def is_code(subject: str) -> bool:
    """Whether a subject names a code rather than an action."""
    return _CODE.fullmatch(subject) is not None


def explain_code(code: str) -> str:
    """The page of a code. Errors: DiagnosticError for one that there is not."""
    rule = ALL.get(code.upper())
    if rule is None:
        raise DiagnosticError(fault("OB041", f"there is no code `{code}`", hint=did_you_mean(code.upper(), ALL)))
    parts = [f"{rule.code} {rule.name} ({rule.severity})", rule.summary]
    parts += [f"why: {rule.why}"] if rule.why else []
    parts += [f"fix: {rule.fix}"] if rule.fix else []
    parts += [f"bad:\n{_indented(rule.bad)}"] if rule.bad else []
    parts += [f"good:\n{_indented(rule.good)}"] if rule.good else []
    return "\n\n".join(parts)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").splitlines())


def explain_id(name: str, asked: Asked) -> str:
    """How the action ended the last time and why, and what a run would do with it now."""
    with session(asked, write=False) as opened:
        graph = opened.whole
        action_id = graph.aliases.get(name, name)
        if action_id not in graph.actions:
            near = did_you_mean(name, [*graph.actions, *graph.aliases])
            raise DiagnosticError(fault("OB018", f"there is no action `{name}` in {asked.manifest}", hint=near))
        last = opened.store.traces.last(opened.scope).get(action_id)
        found = {
            outcome.id: outcome
            for outcome in preview(
                graph.only(graph.with_needs([action_id])),
                kinds=opened.kinds,
                store=opened.store,
                runner=opened.runner,
                scope=opened.scope,
            )
        }
        parts = [_last_time(action_id, last), _now(found[action_id], explain_action(found[action_id], graph, found))]
        trace = opened.store.traces.find(last.key) if last and last.key else None
        if trace is not None and last is not None:
            parts.append(f"key: {last.key}\ntook: {trace.seconds:.1f} s, made by {trace.worker}")
            parts += warning_lines(trace.facts)
        return "\n".join(parts)


def _last_time(action_id: str, last: Last | None) -> str:
    if last is None:
        return f"{action_id} has never been run"
    words = [f"{action_id}: the last run found it {_word(last.outcome)}"]
    words += [f"  because {reason_in_words(Reason(r['part'], r['old'], r['new']))}" for r in last.reasons]
    words += [f"  {last.message}"] if last.message else []
    return "\n".join(words)


def _word(outcome: str) -> str:
    return "up to date (a hit)" if outcome == "hit" else outcome


def _now(outcome: Outcome, words: str) -> str:
    if outcome.outcome == "hit":
        return "now: up to date"
    return "now: " + words


def manifest_in_reach() -> str:
    """The manifest of the run that ended last in this folder or one level below: the one that an id belongs to.

    Errors: DiagnosticError where nothing has been run here.
    """
    places = [Path(), *(entry for entry in Path().iterdir() if entry.is_dir())]
    receipts = [place / ".onnxbuild" / "last" for place in places]
    known = [path for path in receipts if path.is_file()]
    if not known:
        message = "no manifest has been run in this folder or one below it"
        raise DiagnosticError(fault("OB042", message, hint="name it: `onnxbuild explain ID -m MANIFEST`"))
    newest = max(known, key=lambda path: path.stat().st_mtime)
    return str(newest.parent.parent / newest.read_text(encoding="utf-8").strip())
