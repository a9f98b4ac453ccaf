"""What helps after a failure: its place in the manifest, how to accept a difference, how to repeat it."""

import math

import pytest
from msgspec import structs
from report_worlds import BERT, QUANTIZE, outcome, outcomes_of

from onnxbuild.deliver.variant_rows import Metric
from onnxbuild.diagnostics import Source, Span
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.protocol import Failure
from onnxbuild.report.render_diagnostics import as_text as diagnostic
from onnxbuild.report.result.failed_actions import accepting_bound, failures, how_to_accept
from onnxbuild.tables.thresholds import side_of

CHECK = "bert/int8:validate"


def failed(metrics, thresholds):
    facts = {"metrics": metrics, "thresholds": thresholds}
    return outcome(CHECK, "failed", failure=Failure(code="OBE04", message="too far", facts=facts))


def test_the_line_of_the_manifest_stands_below_a_failure():
    source = Source("bert.yaml", "targets:\n  int8: {quantize: {method: dynamic}}\n")
    steps = {**BERT.actions, QUANTIZE: structs.replace(BERT.actions[QUANTIZE], span=Span(source, 2, 10, 8))}
    failed = outcome(QUANTIZE, "failed", failure=Failure(code="OBE22", message="no MatMul to quantize"))
    (one,) = failures(ActionGraph(steps, BERT.variants), outcomes_of(failed))
    assert diagnostic(one) == (
        "OBE22 bert/int8:quantize failed: no MatMul to quantize\n"
        " --> bert.yaml:2:10\n"
        "  |\n"
        "1 | targets:\n"
        "2 |   int8: {quantize: {method: dynamic}}\n"
        "  |          ^^^^^^^^"
    )


@pytest.mark.parametrize(
    ("metric", "value", "bound"),
    [
        ("cosine_mean", 0.971, "0.97"),
        ("cosine_mean", 0.98976, "0.989"),
        ("cosine_min", 0.99986, "0.99985"),
        ("top1", 0.8, "0.8"),
        ("top1", 0.0, "0"),
        ("max_abs", 0.001234, "0.00124"),
        ("max_abs", 17.2, "17.2"),
        ("perplexity_ratio", 1.0534, "1.06"),
        ("perplexity_ratio", 37.21, "37.3"),
        ("kl_mean", 0.0512, "0.0513"),
        ("accuracy_drop", 0.015, "0.015"),
    ],
)
def test_the_bound_that_accepts_a_result_is_the_next_one_that_it_passes(metric, value, bound):
    accepted = accepting_bound(metric, Metric(value=value, bound=0.5, passed=False))
    assert f"{accepted:f}" == bound
    assert value >= float(accepted) if side_of(metric) == "min" else value <= float(accepted)


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


def test_a_comparison_with_random_values_cannot_be_accepted():
    far = failed({"max_abs": 7.25}, {"max_abs": 0.1})
    cause = ("cause", "the checkpoint has no `classifier.bias`, so PyTorch and the export used random values")
    noise = structs.replace(far, failure=structs.replace(far.failure, notes=(cause,)))
    assert how_to_accept(far, BERT) is not None
    assert how_to_accept(noise, BERT) is None


def test_a_failure_without_metrics_has_nothing_to_accept():
    assert how_to_accept(outcome(CHECK, "failed", failure=Failure(code="OBE62", message="too slow")), BERT) is None


def test_the_command_is_quoted_for_a_shell():
    outcomes = {CHECK: failed({}, {})}
    (one,) = failures(BERT, outcomes, manifest="a b.yaml", options=["-D", "x=$y"])
    assert dict(one.notes)["again"] == "onnxbuild run 'a b.yaml' bert/int8:validate -D 'x=$y'"
