"""What helps after a failure: where it stands in the manifest, how to accept a difference, how to repeat it."""

import math

import pytest
from msgspec import structs
from report_worlds import BERT, outcome

from onnxbuild.diagnostics import Source, Span
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.protocol import Failure
from onnxbuild.report.result.failure_details import again, how_to_accept, place_in_manifest

CHECK = "bert/int8:validate"


def failed(metrics, thresholds):
    facts = {"metrics": metrics, "thresholds": thresholds}
    return outcome(CHECK, "failed", failure=Failure(code="OBE04", message="too far", facts=facts))


def test_the_place_is_a_code_frame():
    source = Source("m.yaml", "targets:\n  int8: {quantize: {method: dynamic}}\n")
    check = structs.replace(BERT.actions[CHECK], span=Span(source, 2, 10, 8))
    graph = ActionGraph({**BERT.actions, CHECK: check}, BERT.variants)
    assert list(place_in_manifest(failed({}, {}), graph)) == [
        " --> m.yaml:2:10",
        "  |",
        "1 | targets:",
        "2 |   int8: {quantize: {method: dynamic}}",
        "  |          ^^^^^^^^",
    ]
    assert place_in_manifest(failed({}, {}), BERT) == ()


@pytest.mark.parametrize(
    ("metrics", "thresholds", "written"),
    [
        ({"cosine_mean": 0.97163}, {"cosine_mean": 0.98}, "cosine_mean: 0.971"),
        ({"max_abs": 0.0123456}, {"max_abs": 0.001}, "max_abs: 0.0124"),
        ({"kl_mean": 0.5, "top1": 0.25}, {"kl_mean": 0.01, "top1": 0.97}, "kl_mean: 0.5, top1: 0.25"),
        ({"perplexity_ratio": 173.21}, {"perplexity_ratio": 1.01}, "perplexity_ratio: 174"),
    ],
)
def test_a_difference_is_accepted_for_one_target(metrics, thresholds, written):
    assert how_to_accept(failed(metrics, thresholds), BERT) == (
        "if this difference is acceptable for `int8`, add to that target\n"
        "targets:\n"
        "  int8:\n"
        f"    validate: {{thresholds: {{{written}}}}}"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_cannot_be_accepted(value):
    assert how_to_accept(failed({"max_abs": value}, {"max_abs": 0.1}), BERT) is None


def test_a_failure_without_metrics_has_nothing_to_accept():
    assert how_to_accept(outcome(CHECK, "failed", failure=Failure(code="OBE62", message="too slow")), BERT) is None


def test_the_command_is_quoted_for_a_shell():
    assert again(failed({}, {}), "a b.yaml", ["-D", "x=$y"]) == (
        "onnxbuild run 'a b.yaml' bert/int8:validate -D 'x=$y'"
    )
