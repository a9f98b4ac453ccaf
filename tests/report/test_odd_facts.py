"""Facts may come from a remote store that somebody else fills: whatever they hold, every report is printed."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from toys import graph_of, step

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph, OutputRef, Variant
from onnxbuild.report.evidence.figure_tables import in_markdown
from onnxbuild.report.evidence.gathering import gather
from onnxbuild.report.evidence.session_table import session_table
from onnxbuild.report.progress.jsonl import events_text
from onnxbuild.report.progress.lines import finished_lines
from onnxbuild.report.result import status_text
from onnxbuild.report.result.explained import facts_lines
from onnxbuild.report.result.summary import summary

NAMES = (
    "metrics", "thresholds", "dataset", "accuracy", "headline", "p50_ms", "speedup", "engines", "onnxruntime", "torch",
    "tokens_per_second", "median", "text", "new_tokens", "files", "bytes", "because", "warnings", "passed",
    "settings", "gain", "min", "max", "tried", "goal", "contended",
)  # fmt: skip
NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=10,
)
KINDS = {
    "m:export": "export",
    "m/t:validate": "validate",
    "m/t:benchmark": "benchmark",
    "m/t:generate": "generate",
    "m/t:tune": "tune",
}


def world() -> ActionGraph:
    actions = [
        structs.replace(step(name, of=() if name == "m:export" else "m:export"), kind=kind)
        for name, kind in KINDS.items()
    ]  # fmt: skip
    variant = Variant(
        model="m", target="t", output=OutputRef("m:export", "out"), precision="fp32", steps=("m:export",),
        checks=("m/t:validate",), measures=("m/t:benchmark", "m/t:generate", "m/t:tune"),
    )  # fmt: skip
    return ActionGraph(graph_of(*actions).actions, (variant,))


GRAPH = world()


@settings(
    max_examples=int(os.environ.get("ONNXBUILD_FUZZ", "200")), deadline=5000,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5), min_size=5, max_size=5))
def test_fuzz_no_fact_keeps_a_report_from_being_printed(facts: list[dict[str, Any]]) -> None:
    outcomes = {
        name: Outcome(id=name, kind=kind, outcome="hit", facts=one)
        for (name, kind), one in zip(KINDS.items(), facts, strict=True)
    }
    assert summary(GRAPH, outcomes, seconds=1.0, manifest="m.yaml", options=[], width=100)
    assert status_text.as_text(GRAPH, outcomes, 1.0)
    assert status_text.as_markdown(GRAPH, outcomes, 1.0)
    assert status_text.as_json(GRAPH, outcomes, 1.0)
    assert events_text(outcomes)
    evidence = gather(GRAPH, outcomes, lambda _key: None, source="m.yaml", ended=None)
    assert in_markdown(session_table(evidence))
    for outcome in outcomes.values():
        assert list(facts_lines(outcome.facts)) is not None
        assert finished_lines(structs.replace(outcome, outcome="built"))
