"""blame: the checks that it adds to a plan, what their outcomes mean, and how the answer is printed."""

from __future__ import annotations

import json

import pytest
from msgspec import structs

from onnxbuild.commands.blaming.blame_text import as_json, as_text
from onnxbuild.commands.blaming.chain import chain_of, label_of, variant_named, with_checks, with_nodes
from onnxbuild.commands.blaming.verdict import Graph, Node, Pasted, blame_of, first_broken, is_measured, pasted
from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.execute.events import Outcome
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.action_graph import OutputRef
from onnxbuild.planning.expand import expand
from onnxbuild.planning.locked import Lock
from onnxbuild.protocol import Failure
from onnxbuild.report.wording import cells
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
MANIFEST = """\
onnxbuild: 1
targets:
  int8: {optimize: O2, quantize: int8, validate: {thresholds: {cosine_mean: 0.99}}}
  half: {steps: [{optimize: O1}, {optimize: O2}, {quantize: q4}, {precision: fp16}]}
  bare: {optimize: O2, validate: false}
datasets:
  d: {source: [{text: a}]}
  q: {source: [{question: a, context: b}]}
models:
  m: {source: "random:bert", task: fill-mask, targets: [int8, half, bare], validate: {dataset: d, seed: 7}}
  qa: {source: "random:bert", task: question-answering, targets: [int8], validate: {dataset: q}}
"""


@pytest.fixture
def graph(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(MANIFEST)
    return expand(load_manifest("m.yaml", kinds=KINDS), KINDS, Lock(), MACHINE)


def chain(graph, name="m/int8"):
    return chain_of(graph, variant_named(graph, [name]))


def test_every_result_is_checked_as_the_variant_is(graph):
    found = chain(graph)
    own = graph.actions["m/int8:validate"]
    assert [(one.kind, one.label, one.check.id) for one in found.stages] == [
        ("export", "export", "m/int8:validate-after-export"),
        ("optimize", "O2", "m/int8:validate-after-optimize"),
        ("quantize", "int8", "m/int8:validate-after-quantize"),
    ]
    assert [one.check.params for one in found.stages] == [{**own.params, "on_failure": "warn"}] * 3
    assert own.params["precision"] == "int8"
    assert own.params["thresholds"]["cosine_mean"] == 0.99
    models = [one.check.inputs["model"] for one in found.stages]
    assert models == [OutputRef(step, "model") for step in ("m:export", "m/int8:optimize", "m/int8:quantize")]
    assert {one.check.inputs["reference"] for one in found.stages} == {OutputRef("m:fetch", "model")}
    assert [one.check.inputs["dataset"] for one in found.stages] == [own.inputs["dataset"]] * 3


def test_a_step_that_a_target_has_twice_is_checked_twice(graph):
    stages = chain(graph, "m/half").stages
    assert [(one.label, one.check.id.rpartition(":")[2]) for one in stages] == [
        ("export", "validate-after-export"),
        ("O1", "validate-after-optimize"),
        ("O2", "validate-after-optimize-2"),
        ("q4", "validate-after-quantize"),
        ("fp16", "validate-after-precision"),
    ]


def test_the_plan_has_the_checks_and_what_they_need_and_delivers_nothing(graph):
    plan = with_checks(graph, chain(graph))
    assert plan.variants == ()
    assert sorted(plan.actions) == [
        "m/int8:optimize",
        "m/int8:quantize",
        "m/int8:validate-after-export",
        "m/int8:validate-after-optimize",
        "m/int8:validate-after-quantize",
        "m:export",
        "m:fetch",
    ]


def test_the_nodes_of_a_step_are_compared_with_the_graph_before_it(graph):
    stage = chain(graph).stages[2]
    action = with_nodes(graph, stage).actions["m/int8:blame-quantize"]
    assert action.kind == "blame"
    assert action.inputs == {
        "before": OutputRef("m/int8:optimize", "model"),
        "after": OutputRef("m/int8:quantize", "model"),
        "dataset": graph.actions["m/int8:validate"].inputs["dataset"],
    }
    assert (action.params["seed"], action.params["samples"]) == (7, 8)
    assert chain(graph).stages[0].nodes is None, "an export has no graph before it"


def test_rows_that_are_not_single_texts_are_left_to_the_validation(graph):
    stages = chain(graph, "qa/int8").stages
    assert "dataset" in stages[1].check.inputs
    assert sorted(stages[1].nodes.inputs) == ["after", "before"]
    assert stages[1].nodes.params["rows"]["columns"] == {}


@pytest.mark.parametrize(
    ("selectors", "code", "message"),
    [
        (["m"], "OB670", "which variant to blame is not clear"),
        (["m/int8", "m/half"], "OB670", "which variant to blame is not clear"),
        (["m/int9"], "OB018", "the selector `m/int9` matches nothing"),
    ],
)
def test_one_variant_is_blamed(graph, selectors, code, message):
    with pytest.raises(DiagnosticError) as caught:
        variant_named(graph, selectors)
    assert [(one.code, one.message) for one in caught.value.diagnostics] == [(code, message)]


def test_a_variant_without_a_validation_has_no_bound_to_break(graph):
    with pytest.raises(DiagnosticError) as caught:
        chain(graph, "m/bare")
    assert [(one.code, one.message) for one in caught.value.diagnostics] == [("OB671", "`m/bare` is not validated")]


@pytest.mark.parametrize(
    ("kind", "params", "label"),
    [
        ("export", {"opset": 18}, "export"),
        ("optimize", {"level": "O3"}, "O3"),
        ("precision", {"dtype": "bf16"}, "bf16"),
        ("quantize", {"method": "weight-only", "bits": 8}, "q8"),
        ("quantize", {"method": "dynamic", "modules": {"decoder*": {"method": "weight-only", "bits": 4}}}, "q4"),
        ("shout", {"level": 3}, "shout"),
    ],
)
def test_the_result_of_a_step_is_called_what_it_is(kind, params, label):
    assert label_of(kind, params) == label


# -- verdicts ---------------------------------------------------------------------------------------------------------

BOUNDS = {"cosine_mean": 0.99, "max_abs": 0.1}


def ended(stage, cosine, *, failures=(), outputs=None, **more):
    metrics = {"cosine_mean": cosine, "max_abs": 0.01, "mean_abs": 0.001}
    facts = {"passed": not failures, "failures": list(failures), "metrics": metrics, "thresholds": BOUNDS}
    facts |= {"outputs": outputs or {}}
    return Outcome(id=stage.check.id, kind="validate", outcome="hit", facts=facts, **more)


def verdict(graph, *outcomes, name="m/int8"):
    found = chain(graph, name)
    return found, blame_of(
        found, {stage.check.id: make(stage) for stage, make in zip(found.stages, outcomes, strict=True)}
    )


def right(stage):
    return ended(stage, 0.9999)


def wrong(stage):
    return ended(stage, 0.5, failures=["`cosine_mean` is 0.5, below 0.99 (shape 1×8)"])


def test_the_first_step_that_breaks_it_is_named_with_the_metric_after_each(graph):
    found, blame = verdict(graph, right, right, wrong)
    assert (blame.variant, blame.first, blame.metric) == ("m/int8", "quantize", "cosine_mean")
    assert first_broken(found, blame) is found.stages[2]
    assert as_text(blame).splitlines() == [
        "step             cosine_mean ≥ 0.99  max_abs ≤ 0.1",
        "export                       0.9999         0.0100",
        "optimize (O2)                0.9999         0.0100",
        "quantize (int8)            0.5000 ✗         0.0100",
        "",
        "first step that breaks it: quantize (cosine_mean: export 0.9999, O2 0.9999, int8 0.5000)",
        "`cosine_mean` is 0.5, below 0.99 (shape 1×8)",
    ]


def test_nothing_breaks(graph):
    found, blame = verdict(graph, right, right, right)
    assert (blame.first, first_broken(found, blame)) == (None, None)
    assert as_text(blame).splitlines()[-1] == "nothing breaks: `m/int8` passes its validation after every step"
    assert [stand["metrics"]["cosine_mean"]["value"] for stand in json.loads(as_json(blame))["steps"]] == [0.9999] * 3


def test_a_later_step_that_repairs_is_mentioned(graph):
    _, blame = verdict(graph, right, wrong, right)
    assert blame.first == "optimize"
    assert "the steps after it make up for it: `m/int8` passes its validation" in as_text(blame)


def test_outputs_of_an_export_that_breaks(graph):
    outputs = {"forward/logits": {"cosine_mean": 0.5, "max_abs": 0.02}, "forward/pooler": {"cosine_mean": 0.999}}
    _, blame = verdict(
        graph, lambda stage: ended(stage, 0.5, failures=["`cosine_mean` is 0.5"], outputs=outputs), wrong, wrong
    )
    assert blame.first == "export"
    assert [(one.name, one.metrics) for one in blame.outputs] == [("forward/logits", {"cosine_mean": 0.5})]
    assert as_text(blame).endswith(
        "there is no graph before an export to compare nodes with; these outputs differ from PyTorch's:\n\n"
        "  forward/logits: cosine_mean 0.5000"
    )


def test_a_result_with_infinities_breaks_it_without_a_metric(graph):
    failure = Failure(code="OBE06", message="`logits` has NaN")
    _, blame = verdict(
        graph, right, right, lambda stage: structs.replace(right(stage), outcome="failed", failure=failure)
    )
    assert (blame.first, blame.metric) == ("quantize", None)
    assert "first step that breaks it: quantize\nOBE06 `logits` has NaN" in as_text(blame)


@pytest.mark.parametrize(("code", "says"), [("OBE04", True), ("OBE06", True), ("OBE86", True), ("OBE05", False)])
def test_a_lack_of_memory_says_nothing_about_a_graph(graph, code, says):
    stage = chain(graph).stages[0]
    failed = structs.replace(right(stage), outcome="failed", failure=Failure(code=code, message="no"))
    assert is_measured(failed) is says
    assert is_measured(structs.replace(right(stage), outcome="blocked")) is False


NODES = (
    Node(name="/layer.0/dense/MatMul", operator="MatMul", error_before=0.0, error_after=0.0124, added=0.0636),
    Node(name="/layer.1/dense/MatMul", operator="MatMul", error_before=0.0124, error_after=0.3, added=0.0012),
)
GRAPHS = (
    Graph(file="encoder_model.onnx", compared=71, nodes=NODES),
    Graph(file="decoder_model.onnx", compared=12),
    Graph(file="decoder_model_merged.onnx", because="it was not run"),
)

PASTED = Pasted(param="exclude", names=("/layer.0/dense/MatMul", "ü"))


@pytest.mark.parametrize(
    ("kind", "params", "expected"),
    [
        ("quantize", {"exclude": ["/first"]}, ("exclude", ("/first", "/layer.0/dense/MatMul"))),
        ("quantize", {}, ("exclude", ("/layer.0/dense/MatMul",))),
        ("precision", {"keep_fp32": "auto"}, ("keep_fp32", ("auto", *(one.name for one in NODES)))),
        (
            "precision",
            {"keep_fp32": ["Softmax", NODES[1].name]},
            ("keep_fp32", ("Softmax", *(one.name for one in NODES[::-1]))),
        ),
        ("optimize", {"level": "O2"}, None),
    ],
)
def test_what_is_pasted_keeps_what_the_step_already_names(graph, kind, params, expected):
    stage = structs.replace(chain(graph).stages[1], kind=kind, params=params)
    found = pasted(stage, (structs.replace(GRAPHS[0], nodes=(structs.replace(NODES[0], quantized=True), NODES[1])),))
    assert (found and (found.param, found.names)) == expected


def test_a_node_without_a_name_cannot_be_excluded(graph):
    nodes = tuple(structs.replace(one, named=False, quantized=True) for one in NODES)
    assert pasted(chain(graph).stages[2], (structs.replace(GRAPHS[0], nodes=nodes),)) is None


def test_the_nodes_and_a_line_to_paste(graph):
    _, blame = verdict(graph, right, right, wrong)
    text = as_text(structs.replace(blame, graphs=GRAPHS, pasted=PASTED))
    assert text.split("\n\n", 2)[2].splitlines() == [
        "encoder_model.onnx: the nodes that cost most; 71 tensors were compared",
        "node                   operator  error before  error after     adds",
        "/layer.0/dense/MatMul    MatMul         0.00%        1.24%   0.0636",
        "/layer.1/dense/MatMul    MatMul         1.24%       30.00%  1.2e-03",
        "",
        "decoder_model.onnx: no node of this graph was changed",
        "",
        "decoder_model_merged.onnx: it was not run",
        "",
        'exclude: ["/layer.0/dense/MatMul", "ü"]',
    ]


@pytest.mark.parametrize("width", [40, 57, 80])
def test_the_answer_fits_the_terminal_but_for_what_is_pasted(graph, width):
    _, blame = verdict(graph, right, right, wrong)
    lines = as_text(structs.replace(blame, graphs=GRAPHS, pasted=PASTED), width).splitlines()
    assert [line for line in lines if cells(line) > width and not line.startswith("exclude: ")] == []
    assert 'exclude: ["/layer.0/dense/MatMul", "ü"]' in lines


def test_control_characters_of_a_name_do_not_reach_the_terminal(graph):
    _, blame = verdict(graph, right, right, wrong)
    node = structs.replace(NODES[0], name="a\x1b[2Jb")
    text = as_text(structs.replace(blame, graphs=(Graph(file="m.onnx", compared=1, nodes=(node,)),)))
    assert "\x1b" not in text
    assert "[2Jb" in text
