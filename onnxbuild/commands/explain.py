"""`onnxbuild explain ID|VARIANT|MODEL|CODE`: why an action was built, what a variant is, what a code means."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxbuild.commands.logs import action_named
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.workspace import Session, session
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.execute.events import Reason
from onnxbuild.execute.policy import log_file
from onnxbuild.planning.action_graph import Variant
from onnxbuild.report.result.explained import facts_lines, key_lines, params_lines, variant_lines
from onnxbuild.report.result.plan_text import failed_last_time, plan_lines
from onnxbuild.report.result.reasons import reason_in_words
from onnxbuild.report.terminal import fitted, width_of
from onnxbuild.report.wording import folded, path_from_here
from onnxbuild.rules import ALL
from onnxbuild.store.traces import Last, Trace

_CODE = re.compile(r"OBE?\d+", re.IGNORECASE)


def explain(subject: str, asked: Asked) -> int:
    """Print what is known about an action, a variant, a model or a code; the exit code. Errors: DiagnosticError."""
    if is_code(subject):
        print(explain_code(subject, width_of(sys.stdout)))
        return 0
    with session(asked, write=False) as opened:
        print(fitted("\n".join(_lines(subject, opened, asked)), sys.stdout))
    return 0


def _lines(subject: str, opened: Session, asked: Asked) -> Iterator[str]:
    """What is known about an action, a variant or a model. Errors: DiagnosticError OB018."""
    variants = opened.plan.whole.delivered
    if variant := next((one for one in variants if one.name == subject), None):
        return _variant(variant, opened)
    if own := [one for one in variants if one.model == subject]:
        return _model(own, opened)
    return _action(action_named(subject, opened, asked), opened)


# -- a code -----------------------------------------------------------------------------------------------------------


def is_code(subject: str) -> bool:
    """Whether a subject names a code rather than an action."""
    return _CODE.fullmatch(subject) is not None


def explain_code(code: str, width: int | None = None) -> str:
    """The page of a code, its prose in lines of `width` cells. Errors: DiagnosticError for an unknown one."""
    rule = ALL.get(code.upper())
    if rule is None:
        raise DiagnosticError(fault("OB041", f"there is no code `{code}`", hint=_near_codes(code.upper())))
    parts = [f"{rule.code} {rule.name} ({rule.severity})", rule.summary]
    parts += [f"why: {rule.why}"] if rule.why else []
    parts += [f"fix: {rule.fix}"] if rule.fix else []
    parts = [folded(part, width, hang=0) for part in parts]
    parts += [f"bad:\n{_indented(rule.bad)}"] if rule.bad else []
    parts += [f"good:\n{_indented(rule.good)}"] if rule.good else []
    return "\n\n".join(parts)


def _near_codes(code: str) -> str:
    """The code with the same number and another beginning, or the codes whose numbers are written most alike."""
    import difflib

    number = int(code.lstrip("OBE"))
    same = [one for one in ALL if int(one.lstrip("OBE")) == number]
    near = same or difflib.get_close_matches(code, ALL, n=3, cutoff=0.6)
    *others, last = [f"`{one}`" for one in near] or ["`OB001`"]
    return f"did you mean {' or '.join([', '.join(others), last] if others else [last])}?"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.strip("\n").splitlines())


# -- an action --------------------------------------------------------------------------------------------------------


def _action(name: str, opened: Session) -> Iterator[str]:
    """How the action ended the last time and why, what a run would do now, and what its result depends on."""
    last = opened.store.traces.last(opened.scope).get(name)
    trace = _trace(last, opened)
    yield from _last_time(name, last, opened)
    yield from _now(name, opened, last)
    width = width_of(sys.stdout)
    yield from params_lines(opened.plan.whole.actions[name], opened.kinds, opened.plan.manifest, width=width)
    yield from facts_lines(_facts(last, trace))
    yield from _places(name, opened)
    if trace is not None and last is not None:
        yield f"took: {trace.seconds:.1f} s, made by {trace.worker}{_elsewhere(last, opened)}"
        yield f"key: {last.key}"
        yield from key_lines(trace.parts)


def _elsewhere(last: Last, opened: Session) -> str:
    """Where the result came from, if it came from a remote store, and who signed it."""
    origin = opened.store.traces.origin(last.key) if last.key is not None else None
    if origin is None:
        return ""
    from onnxbuild.store.remote.signing import short_identity

    return f", from {origin.remote}, {f'signed by {short_identity(origin.signer)}' if origin.signer else 'not signed'}"


def _last_time(name: str, last: Last | None, opened: Session) -> Iterator[str]:
    if last is None:
        yield f"{name} has never been run"
        return
    yield f"{name}: {_ended(last, opened)} in its last run"
    if last.outcome != "hit":  # a hit with reasons was found elsewhere, and nothing ran because of them
        yield from (f"  because {reason_in_words(Reason(r['part'], r['old'], r['new']))}" for r in last.reasons)
    if last.message:
        yield f"  {last.message}"


def _ended(last: Last, opened: Session) -> str:
    if last.outcome == "skipped":
        return "not finished, because the run was interrupted or ended early,"
    if last.outcome != "hit":
        return last.outcome
    origin = opened.store.traces.origin(last.key) if last.reasons and last.key is not None else None
    return f"fetched from {origin.remote}" if origin is not None else "up to date (a hit)"


def _now(name: str, opened: Session, last: Last | None) -> Iterator[str]:
    """What a run would do, in the words of a plan."""
    graph = opened.plan.whole
    outcomes = opened.preview(graph.only(graph.with_needs([name])))
    if outcomes[name].outcome == "hit":
        yield "now: up to date"
        return
    first, *rest = plan_lines(outcomes[name], graph, outcomes, last)
    yield f"now: {first}"
    yield from rest


def _places(name: str, opened: Session) -> Iterator[str]:
    """The log of the last run, and the output folders of the variants that the action makes."""
    log = log_file(opened.logs, name)
    if log.is_file():
        yield f"log: {path_from_here(log)}"
    for variant in opened.plan.whole.delivered:
        if variant.output.action == name:
            yield f"output: {_output(variant, opened)}"


# -- a model ----------------------------------------------------------------------------------------------------------


def _model(variants: Sequence[Variant], opened: Session) -> Iterator[str]:
    """The variants of a model, each with its output and the actions that failed in their last run."""
    lasts = opened.store.traces.last(opened.scope)
    yield f"{variants[0].model}: a model with {len(variants)} variant{'s' if variants[1:] else ''}"
    for variant in variants:
        yield f"  {variant.name}: {variant.precision}, output: {_output(variant, opened)}"
        for name in variant.members:
            if failed := failed_last_time(lasts.get(name)):
                yield f"    {name}: {failed}"
    yield f"more: `onnxbuild explain {variants[0].name}` shows the actions of a variant"


# -- a variant --------------------------------------------------------------------------------------------------------


def _variant(variant: Variant, opened: Session) -> Iterator[str]:
    """What makes, checks and measures a variant, and where it is written."""
    graph, lasts = opened.plan.whole, opened.store.traces.last(opened.scope)
    names = variant.members
    outcomes = opened.preview(graph.only(graph.with_needs(names)))
    yield f"{variant.name}: {variant.precision}"
    yield f"output: {_output(variant, opened)}"
    for name in names:
        yield ""
        yield from _heading(outcomes[name].outcome, name, lasts.get(name))
        yield from params_lines(graph.actions[name], opened.kinds, opened.plan.manifest, in_full=False)
        yield from facts_lines(_facts(lasts.get(name), _trace(lasts.get(name), opened)))
        log = log_file(opened.logs, name)
        if log.is_file():
            yield f"log: {path_from_here(log)}"
    yield ""
    yield from variant_lines(variant)


def _heading(outcome: str, name: str, last: Last | None) -> Iterator[str]:
    failed = failed_last_time(last)
    state = "up to date" if outcome == "hit" else failed or "would run"
    yield f"{name}: {state}"


def _trace(last: Last | None, opened: Session) -> Trace | None:
    return opened.store.traces.find(last.key) if last is not None and last.key is not None else None


def _facts(last: Last | None, trace: Trace | None) -> Mapping[str, Any]:
    """What the last run measured, also where its check failed."""
    if last is not None and last.outcome == "failed":
        return last.facts
    return trace.facts if trace is not None else {}


def _output(variant: Variant, opened: Session) -> str:
    """The folder that a run writes without `--out`."""
    folder = Path(opened.plan.manifest.path).absolute().parent / "out" / variant.model / variant.target
    return path_from_here(folder) if folder.is_dir() else f"{path_from_here(folder)} (not written yet)"
