"""What helps after a failure: where it stands in the manifest, how to accept a difference, how to repeat it."""

import math

import pytest
from msgspec import structs
from report_worlds import BERT, outcome

from onnxbuild.diagnostics import Source, Span
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.protocol import Failure
from onnxbuild.report.result.failed_actions import failures, how_to_accept

CHECK = "bert/int8:validate"


def failed(metrics, thresholds):
    facts = {"metrics": metrics, "thresholds": thresholds}
    return outcome(CHECK, "failed", failure=Failure(code="OBE04", message="too far", facts=facts))


def test_a_failure_has_the_place_of_its_action():
    span = Span(Source("m.yaml", "targets:\n  int8: {quantize: {method: dynamic}}\n"), 2, 10, 8)
    check = structs.replace(BERT.actions[CHECK], span=span)
    graph = ActionGraph({**BERT.actions, CHECK: check}, BERT.variants)
    (diagnostic,) = failures(graph, {CHECK: failed({}, {})})
    assert (diagnostic.code, diagnostic.subject, diagnostic.span) == ("OBE04", CHECK, span)
    (without,) = failures(BERT, {CHECK: failed({}, {})})
    assert without.span is None


@pytest.mark.parametrize(
    ("metrics", "thresholds", "written"),
    [
        ({"cosine_mean": 0.97163}, {"cosine_mean": 0.98}, "cosine_mean: 0.971"),
        ({"max_abs": 0.0123456}, {"max_abs": 0.001}, "max_abs: 0.013"),
        ({"kl_mean": 0.5, "top1": 0.25}, {"kl_mean": 0.01, "top1": 0.97}, "kl_mean: 0.5, top1: 0.25"),
        ({"perplexity_ratio": 173.21}, {"perplexity_ratio": 1.01}, "perplexity_ratio: 181"),
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
    (diagnostic,) = failures(BERT, {CHECK: failed({}, {})}, manifest="a b.yaml", options=["-D", "x=$y"])
    assert dict(diagnostic.notes)["again"] == "onnxbuild run 'a b.yaml' bert/int8:validate -D 'x=$y'"
