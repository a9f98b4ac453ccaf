"""The session settings of a tuned variant: a file of its folder, and a line for a person."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import structs
from outs import PARTS, Outs, write

from onnxbuild.deliver.out_folder import deliver
from onnxbuild.deliver.tuned_sessions import in_words, tuned_lines
from onnxbuild.digest import digest_value
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import Action, ActionGraph
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Trace
from onnxbuild.tables.choices import Choice

FACTS: dict[str, Any] = {
    "settings": {"spinning": "off"}, "because": "spinning off: 1.50 times better in latency.p50 (1.40 to 1.60)",
}  # fmt: skip


def tuned(outs: Outs, store: Store, files: dict[str, bytes], **change: Any) -> tuple[ActionGraph, dict[str, Outcome]]:
    """A published variant, and the result of its tuning."""
    graph, outcomes = outs.published(store, files)
    parts = PARTS | {"inputs": {"model": "tuned"}}
    key = digest_value(parts)
    trace = store.lookup(key)
    if trace is None:
        work = store.workspace()
        write(work, {"session.json": b"{}"})
        empty = Trace(parts=parts, outputs={}, facts=FACTS, seconds=0.0, worker="")
        trace = store.publish(key, empty, {"settings": work})
    name = "m/t:tune"
    outcome = Outcome(id=name, kind="tune", outcome="built", key=key, outputs=trace.outputs, facts=FACTS)
    variant = structs.replace(graph.variants[0], measures=(name,))
    actions = {**graph.actions, name: Action(id=name, kind="tune", params={}, inputs={})}
    return ActionGraph(actions, (variant,)), outcomes | {name: structs.replace(outcome, **change)}


def test_the_settings_are_a_file_of_the_delivery_and_of_the_best(outs: Outs) -> None:
    with Store(outs.root / "store") as store:
        graph, outcomes = tuned(outs, store, {"model.onnx": b"model"})
        graph = structs.replace(graph, choices=(Choice("m", "size_mb", False, (), ("t",)),))
        outcomes["m/t:toy"] = structs.replace(outcomes["m/t:toy"], facts={"bytes": 5})
        assert [one.variant for one in deliver(graph, outcomes, store, outs.out)] == ["m/t", "m/best"]
        for target in ("t", "best"):
            folder = outs.out / "m" / target
            assert (folder / "session.json").read_bytes() == b"{}"
            described = json.loads((folder / "onnxbuild.json").read_text())
            assert described["files"].keys() == {"model.onnx", "session.json"}
            assert described["steps"][-1]["facts"] == FACTS
        assert [one.state for one in deliver(graph, outcomes, store, outs.out)] == ["intact", "intact"]


def test_a_file_of_the_model_has_its_name_for_itself(outs: Outs) -> None:
    with Store(outs.root / "store") as store:
        deliver(*tuned(outs, store, {"model.onnx": b"model", "session.json": b"its own"}), store, outs.out)
    assert (outs.folder / "session.json").read_bytes() == b"its own"


def test_a_tuning_that_failed_leaves_the_variant_without(outs: Outs) -> None:
    with Store(outs.root / "store") as store:
        deliver(*tuned(outs, store, {"model.onnx": b"model"}, outcome="failed"), store, outs.out)
    assert not (outs.folder / "session.json").exists()
    assert (outs.folder / "model.onnx").exists()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "spinning off: 1.50 times better in latency.p50 (1.40 to 1.60)"),
        (
            {"because": "x", "contended": True},
            "x; measured while other programs used the cores",
        ),
        ({"because": "a\n b\x1b[31m"}, "a b\\x1b[31m"),
        (
            {"settings": {}, "because": "no setting was better in cpu_time than the defaults in every round"},
            "the defaults are best (no setting was better in cpu_time than the defaults in every round)",
        ),
    ],
)
def test_words(outs: Outs, facts: dict[str, Any], words: str) -> None:
    assert in_words({**FACTS, **facts}) == words
    with Store(outs.root / "store") as store:
        graph, outcomes = tuned(outs, store, {"model.onnx": b"model"}, facts={**FACTS, **facts})
    assert list(tuned_lines(graph, outcomes)) == [f"tuned m/t: {words}"]
    failed = outcomes | {"m/t:tune": structs.replace(outcomes["m/t:tune"], outcome="failed")}
    assert list(tuned_lines(graph, failed)) == []
