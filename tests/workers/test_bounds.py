"""Which bounds a graph is judged by."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")

from onnxbuild.machine import this_machine
from onnxbuild.steps.kind import Context
from onnxbuild.steps.validate import VALIDATE, ValidateParams
from onnxbuild.tables.thresholds import default_bounds
from onnxbuild.workers.validate.bounds import fitting_bounds, row_of
from onnxbuild.workers.validate.worst import Worst


class Graph:
    """A variant of one stage, by the axes of its outputs."""

    stages = ("forward",)

    def __init__(self, *inputs, **axes):
        self._inputs, self._axes = inputs, axes

    def inputs(self, _stage):
        return dict.fromkeys(self._inputs)

    def output_axes(self, _stage):
        return self._axes


@pytest.mark.parametrize(
    ("task", "graph", "row"),
    [
        ("text-generation", Graph("input_ids", logits=3), "generation"),
        ("text-classification", Graph("input_ids", logits=2), "classification"),
        ("automatic-speech-recognition", Graph("input_features", logits=3), "classification"),
        ("text-classification", Graph("input_ids", scores=2), "embedding"),
        ("feature-extraction", Graph("pixel_values", char_logits=3), "embedding"),
        ("", Graph("input_ids", logits=3), "generation"),
        ("", Graph("input_ids", logits=2), "classification"),
        ("", Graph("input_features", logits=3), "classification"),
        ("", Graph("pixel_values", y=4), "embedding"),
    ],
)
def test_the_outputs_decide_where_the_task_does_not_fit(task, graph, row):
    assert row_of(task, graph) == row


def fitting(row, measured, precision="fp32", **thresholds):
    params = ValidateParams(precision=precision, **thresholds)
    return fitting_bounds(params, row, {name: Worst(value=0.0, where="here") for name in measured})


def test_defaults_without_anything_to_measure_give_way_to_those_of_the_graph():
    bounds = default_bounds("", None, "fp32", has_labels=False)
    assert "perplexity_ratio" in bounds
    found = fitting("classification", ["max_abs", "top1", "max_probability"], thresholds=bounds)
    assert found == {"max_abs": 1e-3, "max_probability": 1e-3, "top1": 1.0}


def test_a_variant_that_gives_vectors_is_not_without_any_bound():
    bounds = default_bounds("text-generation", None, "int8", has_labels=False)
    found = fitting("embedding", ["max_abs", "cosine_mean"], "int8", thresholds=bounds)
    assert found == {"cosine_mean": 0.98}


def test_all_that_is_measured_leaves_the_bounds_as_they_are():
    bounds = default_bounds("text-generation", None, "fp32", has_labels=False)
    assert fitting("classification", bounds, thresholds=bounds) == bounds


@pytest.mark.parametrize(("bound", "insisted"), [(1.5, ()), (1.001, ("perplexity_ratio",))])
def test_what_a_person_wrote_stays(bound, insisted):
    written = {"thresholds": {"perplexity_ratio": bound}, "insisted": insisted}
    assert "perplexity_ratio" in fitting("embedding", ["max_abs"], **written)


@pytest.mark.parametrize(("bound", "insisted"), [(1.001, ("perplexity_ratio",)), (1.002, None)])
def test_a_default_that_a_person_wrote_is_remembered(bound, insisted):
    params = ValidateParams(thresholds={"perplexity_ratio": bound})
    context = Context(
        task="text-generation", family="decoder", config={}, precision="fp32", previous=(), reference="checkpoint",
        device="cpu", machine=this_machine(),
    )  # fmt: skip
    settled = VALIDATE.resolve(params, context)
    assert (settled.insisted or None) == insisted
    assert settled.thresholds["perplexity_ratio"] == bound
