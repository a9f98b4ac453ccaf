"""Why an action runs: each part of its key that differs from the last trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxbuild.digest import canonical
from onnxbuild.execute.events import Outcome, Reason
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource, OutputRef, PapersSource, RowsSource
from onnxbuild.report.written_value import written_value

_LONGEST_VALUE = 60
_DIGEST_LENGTH = 64
_SHOWN_OF_DIGEST = 12
_ABSENT = "absent"
NEVER_BUILT = "never built"
# Parts that concern the whole action rather than one piece of its key.
WHOLE: Mapping[str, str] = {
    "trace": NEVER_BUILT,
    "forced": "forced by `{new}`",
    "destination": "its destination has lost files that were published, or was written to since",
    "upload": "the last upload to its destination was another one, or failed",
    "prepared": "another machine may have compiled what is only prepared here",
    "store": "its result is missing from the store or damaged",
}
# Outcomes whose action ran, so that its dependents may have a changed input.
_RAN = ("built", "unchanged", "failed", "run")


def reason_in_words(reason: Reason) -> str:
    """One reason without context: `params.preset: avx2 → arm64`, `onnxruntime 1.30.0 → 1.31.1`, `never built`."""
    head, _, rest = reason.part.partition(".")
    if head == "packages" and rest:
        return _package(rest, reason)
    if head == "inputs" and rest:
        return f"input `{rest}` changed"
    if reason.part == "remote":
        return f"the stored result came from {reason.old}"
    if reason.part in WHOLE:
        return WHOLE[reason.part].replace("{new}", str(reason.new))
    return f"{reason.part}: {_value(reason.old)} → {_value(reason.new)}"


def why(
    outcome: Outcome, graph: ActionGraph | None = None, outcomes: Mapping[str, Outcome] | None = None
) -> tuple[str, ...]:
    """Every reason of an outcome in words; a changed input names the action that changed it, and why that ran."""
    action = graph.actions.get(outcome.id) if graph else None
    return tuple(_in_context(reason, action, graph, outcomes or {}) for reason in outcome.reasons)


def _in_context(
    reason: Reason, action: Action | None, graph: ActionGraph | None, outcomes: Mapping[str, Outcome]
) -> str:
    if graph and action and reason.part.startswith("inputs."):
        return _input(reason, action, graph, outcomes)
    written = _written(reason, action)
    shown = reason if written is None else Reason(reason.part, reason.old, written)
    return f"{reason_in_words(shown)}{_place(reason, action)}"


def _written(reason: Reason, action: Action | None) -> str | None:
    """What the manifest says of a param that is no longer in the key, such as `off`; None if it says nothing of it."""
    head, _, name = reason.part.partition(".")
    if head != "params" or reason.new is not None or action is None or action.span is None:
        return None
    return written_value(action.span, name)


def _place(reason: Reason, action: Action | None) -> str:
    """The line of the manifest that holds the step whose param was edited."""
    if action is None or action.span is None or not reason.part.startswith("params."):
        return ""
    return f" at {action.span.source.path}:{action.span.line}"


def explain_action(
    outcome: Outcome, graph: ActionGraph | None = None, outcomes: Mapping[str, Outcome] | None = None
) -> str:
    """An action's outcome and its reasons, as `explain ID` prints them."""
    lines = [f"{outcome.outcome:<9} {outcome.id}"]
    lines += [f"{'':<9} {words}" for words in why(outcome, graph, outcomes)]
    return "\n".join(lines)


def _package(name: str, reason: Reason) -> str:
    if reason.old is None and " " in name:  # not a distribution: `installed packages`, `code of toy_steps`
        return f"{name}: part of the key since a newer version of onnxbuild"
    # A package that is not installed is in the key as absent: without a value, the step does not read it.
    if reason.old is None:
        return f"now depends on {name} {_value(reason.new)}"
    if reason.new is None:
        return f"no longer depends on {name}"
    if reason.old == _ABSENT:
        return f"{name} {_value(reason.new)} was installed"
    if reason.new == _ABSENT:
        return f"{name} {_value(reason.old)} was removed"
    return f"{name} {_value(reason.old)} → {_value(reason.new)}"


def _input(reason: Reason, action: Action, graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> str:
    words = reason_in_words(reason)
    # A part may continue below the port: `inputs.model.vocab.txt` is one file of a folder.
    port = reason.part.removeprefix("inputs.")
    source = action.inputs.get(port) or action.inputs.get(port.partition(".")[0])
    if isinstance(source, FilesSource):
        return f"{words} (files in {source.root})"
    if isinstance(source, RowsSource):
        return f"{words} (rows in the manifest)"
    if isinstance(source, PapersSource):
        return f"{words} (the card, `onnxbuild.json` or the signature of {source.package})"
    if isinstance(source, OutputRef) and (cause := _root_cause(source.action, graph, outcomes)):
        return f"{words} ({cause})"
    return words


def _root_cause(action_id: str, graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> str | None:
    """The first action upstream that ran for another reason than a changed input, which only moves the question."""
    if not _has_run(action_id, outcomes):
        return None
    cause: str = action_id
    while _own_reason(outcomes[cause]) is None:
        above = next((need for need in graph.actions[cause].needs if _has_run(need, outcomes)), None)
        if above is None:
            break
        cause = above
    return _cause_in_words(outcomes[cause], graph.actions[cause])


def _has_run(action_id: str, outcomes: Mapping[str, Outcome]) -> bool:
    return action_id in outcomes and outcomes[action_id].outcome in _RAN


def _own_reason(outcome: Outcome) -> Reason | None:
    return next((one for one in outcome.reasons if not one.part.startswith("inputs.")), None)


def _cause_in_words(outcome: Outcome, action: Action) -> str:
    verb = "will be rebuilt" if outcome.outcome == "run" else "was rebuilt"
    first = _own_reason(outcome) or next(iter(outcome.reasons), None)
    if first is None:
        return f"{outcome.kind} {verb}"
    return f"{outcome.kind} {verb}: {reason_in_words(first)}{_place(first, action)}"


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) and value else canonical(value).decode()
    if len(text) == _DIGEST_LENGTH and not set(text) - set("0123456789abcdef"):
        return text[:_SHOWN_OF_DIGEST]
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
