"""Facts come from workers, which may be somebody else's plugins: whatever they hold, the end of a run is reported."""

from __future__ import annotations

import io
import json
import math
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from report_worlds import QUANTIZE, action, graph_of, outcome, variant

from onnxbuild.execute.events import ActionFinished, Outcome, RunFinished
from onnxbuild.protocol import Failure, json_text
from onnxbuild.report.progress.jsonl import JsonLines, events_text
from onnxbuild.report.progress.lines import finished_lines
from onnxbuild.report.result import status_text
from onnxbuild.report.result.explained import facts_lines
from onnxbuild.report.result.profile import critical_path_in_words
from onnxbuild.report.result.summary import summary

NUMBERS = st.one_of(st.integers(), st.integers(-(2**80), 2**80), st.floats(), st.booleans())
ANY_JSON = st.recursive(
    st.one_of(st.none(), NUMBERS, st.text(st.characters(codec=None), max_size=8)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# The facts that a report reads, with values of any kind.
NAMES = (
    "metrics", "thresholds", "headline", "engines", "because", "warnings", "files", "bytes", "passed", "dataset",
    "accuracy", "contended", "torch", "onnxruntime", "text", "new_tokens", "cosine_min", "max_abs", "p50_ms", "median",
    "tokens_per_second", "time_to_first_token_ms", "baseline_p50_ms", "speedup",
)  # fmt: skip
KEYS = st.sampled_from(NAMES) | st.text(max_size=5)
FACTS = st.dictionaries(KEYS, ANY_JSON | st.dictionaries(KEYS, ANY_JSON | st.dictionaries(KEYS, ANY_JSON)), max_size=6)
TEXTS = st.text(st.characters(codec=None), max_size=20)
ENDS = st.sampled_from(["built", "unchanged", "hit", "failed"])
INT8 = variant("int8", QUANTIZE)
IDS = (QUANTIZE, *INT8.checks, *INT8.measures)
BERT = graph_of(*map(action, IDS), variants=(INT8,))


def ended(name: str, how: str, facts: dict[str, Any], text: str) -> Outcome:
    failure = Failure(code="OBE04", message=text, notes=((text, text),), facts=facts) if how == "failed" else None
    return outcome(name, how, facts=facts, failure=failure)


@settings(max_examples=60, deadline=None)
@example([("built", {"thresholds": None, "metrics": {"": {"a": "\ud800"}}}, "")] * len(IDS))
@given(st.lists(st.tuples(ENDS, FACTS, TEXTS), min_size=len(IDS), max_size=len(IDS)))
def test_any_facts_are_reported(parts: list[tuple[str, dict[str, Any], str]]) -> None:
    known = {name: ended(name, *part) for name, part in zip(IDS, parts, strict=True)}
    summary(BERT, known, seconds=1.0, manifest="m.yaml")
    summary(BERT, known, seconds=1.0, manifest="m.yaml", width=40, colour=True)
    critical_path_in_words(BERT, known)
    for one in known.values():
        finished_lines(one, BERT, known)
        "".join(facts_lines(one.facts))
    for text in (status_text.as_json(BERT, known, 1.0), *events_text(known).split("\n")[:-1]):
        assert json.loads(text)
    status_text.as_text(BERT, known, 1.0)
    status_text.as_markdown(BERT, known, 1.0)


@given(ANY_JSON)
def test_any_value_has_json(value: Any) -> None:
    for indent in (None, 2):
        text = json_text({"value": value}, indent=indent)
        text.encode()
        if not _is_strange(value):
            assert json.loads(text) == {"value": value}


def _is_strange(value: Any) -> bool:
    """Whether JSON has no equal of the value."""
    if isinstance(value, dict):
        return any(_is_strange(one) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return any(map(_is_strange, value))
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, str) and any("\ud800" <= one <= "\udfff" for one in value)


@given(TEXTS, FACTS)
def test_every_event_is_one_line_of_json(text: str, facts: dict[str, Any]) -> None:
    stream = io.StringIO()
    lines = JsonLines(stream)
    one = ended(QUANTIZE, "failed", facts, text)
    lines.event(ActionFinished(outcome=one))
    lines.event(RunFinished(outcomes={one.id: one}, seconds=1.0, undelivered={text: text}))
    first, last, _ = stream.getvalue().split("\n")
    assert json.loads(first)["failure"]["code"] == "OBE04"
    assert len(json.loads(last)["undelivered"]) == 1
