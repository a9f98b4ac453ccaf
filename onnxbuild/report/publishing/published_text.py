"""What a run and a plan say about uploads: where a package went, what waits for `--publish`, what would change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Published
from onnxbuild.report.wording import counted, size_in_words

_VERBS = ("added", "replaced", "deleted")
WITHOUT_SIGNATURE = "its folder in the output has no signature of this content; `onnxbuild sign` makes one"


def published_lines(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """One line for each upload, except one that failed: that has a message of its own."""
    for upload in graph.uploads:
        outcome = outcomes.get(upload.action)
        if outcome is None:
            yield f"{upload.model} waits for --publish: {upload.package} → {upload.place}"
        elif outcome.outcome in SUCCEEDED:
            yield f"{upload.model} {_result(upload, outcome)}"
            if outcome.facts.get("unsigned") and outcome.outcome != "hit":
                yield f"{upload.model} is no longer signed at {upload.place}: {WITHOUT_SIGNATURE}"


def _result(upload: Published, outcome: Outcome) -> str:
    facts = outcome.facts
    if "skipped" in facts:
        return f"was not published to {upload.place}: skipped, {facts['skipped']}"
    changes = "" if outcome.outcome == "hit" else f", {_changes(facts)}"
    return where_in_words(upload, facts, changes)


def where_in_words(upload: Published, facts: Mapping[str, Any], changes: str = "") -> str:
    """`is published (plain): https://…`, or `is proposed` for a pull request."""
    where = facts.get("pull_request") or facts.get("url") or upload.place
    verb = "is proposed" if "pull_request" in facts else "is published"
    signed = ", signed" if facts.get("signed") else ""
    return f"{verb} ({upload.package}{signed}){changes}: {where}"


def _changes(facts: Mapping[str, Any]) -> str:
    """`3 files added, 1 deleted (12.3 MB)`, or `nothing changed`."""
    counts = [(verb, int(facts.get(verb, 0))) for verb in _VERBS]
    words = [f"{number} {verb}" for verb, number in counts if number]
    if not words:
        return "nothing changed"
    first, _, rest = words[0].partition(" ")
    words[0] = f"{counted(int(first), 'file')} {rest}"
    return f"{', '.join(words)} ({size_in_words(facts.get('changed_bytes', 0))})"
