import pytest
from report_worlds import BERT, EXPORT, FETCH, INT8, OPTIMIZE, QUANTIZE, action, graph_of, outcome, outcomes_of

from onnxbuild.execute.events import Reason
from onnxbuild.planning.action_graph import Action, RowsSource
from onnxbuild.report.result.reasons import explain_action, reason_in_words, why


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason("params.preset", "avx2", "arm64"), "params.preset: avx2 → arm64"),
        (Reason("params.bits", 4, 8), "params.bits: 4 → 8"),
        (Reason("params.exclude", None, ["a", "b"]), 'params.exclude: nothing → ["a","b"]'),
        (Reason("params.name", "", "x"), 'params.name: "" → x'),
        (Reason("packages.onnxruntime", "1.30.0", "1.31.1"), "onnxruntime 1.30.0 → 1.31.1"),
        (Reason("packages.onnx-ir", None, "1.1.0"), "now depends on onnx-ir 1.1.0"),
        (Reason("packages.onnx-ir", "1.1.0", None), "no longer depends on onnx-ir"),
        (Reason("packages.onnx-ir", "absent", "1.1.0"), "onnx-ir 1.1.0 was installed"),
        (Reason("packages.onnx-ir", "1.1.0", "absent"), "onnx-ir 1.1.0 was removed"),
        (Reason("inputs.model", "0" * 64, "1" * 64), "input `model` changed"),
        (Reason("source", "0" * 64, "1" * 64), "source: 000000000000 → 111111111111"),
        (Reason("trace", None, "never built"), "never built"),
        (Reason("forced", None, "--force"), "forced by `--force`"),
        (Reason("store", "result", "missing"), "its result is missing from the store or damaged"),
        (Reason("version", 1, 2), "version: 1 → 2"),
        (Reason("params.text", "x" * 80, "y"), f"params.text: {'x' * 59}… → y"),
    ],
)
def test_a_reason_in_words(reason, words):
    assert reason_in_words(reason) == words


def test_a_changed_input_names_the_action_furthest_up_that_ran_for_a_reason_of_its_own():
    changed = (Reason("inputs.model", "a", "b"),)
    outcomes = outcomes_of(
        outcome(FETCH, "hit"),
        outcome(EXPORT, "built", reasons=(Reason("packages.torch", "2.12.0", "2.13.0"),)),
        outcome(OPTIMIZE, "built", reasons=changed),
        outcome(QUANTIZE, "built", reasons=changed),
    )
    assert why(outcomes[QUANTIZE], BERT, outcomes) == (
        "input `model` changed (export was rebuilt: torch 2.12.0 → 2.13.0)",
    )


def test_a_plan_speaks_of_what_will_be():
    planned = outcome(OPTIMIZE, "run", reasons=(Reason("inputs.model", "a", None),))
    outcomes = outcomes_of(outcome(EXPORT, "run", reasons=(Reason("params.opset", 17, 18),)), planned)
    assert explain_action(planned, BERT, outcomes) == (
        "run       bert/o2:optimize\n          input `model` changed (export will be rebuilt: params.opset: 17 → 18)"
    )


def test_an_input_from_outside_names_its_place():
    fetch = outcome(FETCH, "built", reasons=(Reason("inputs.files", "a", "b"),))
    assert why(fetch, BERT, {}) == ("input `files` changed (files in /models/bert)",)


def test_rows_are_in_the_manifest():
    check = Action(id="m:validate", kind="validate", params={}, inputs={"rows": RowsSource(({"text": "a"},))})
    outcome_ = outcome("m:validate", "built", reasons=(Reason("inputs.rows", "a", "b"),))
    assert why(outcome_, graph_of(check), {}) == ("input `rows` changed (rows in the manifest)",)


def test_without_a_graph_an_input_is_just_an_input():
    assert why(outcome(INT8.name, "built", reasons=(Reason("inputs.model", "a", "b"),))) == ("input `model` changed",)


def test_a_producer_that_was_a_hit_is_not_blamed():
    check = outcome("b:x", "built", reasons=(Reason("inputs.model", "a", "b"),))
    graph = graph_of(action("a:x"), action("b:x", "a:x"))
    assert why(check, graph, outcomes_of(outcome("a:x", "hit"))) == ("input `model` changed",)
