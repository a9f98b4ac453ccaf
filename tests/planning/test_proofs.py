"""The graph from which a lossy variant is made is validated with the bounds of fp32."""

import pytest

from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.expand import expand
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.select import select
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
TARGETS = """
onnxbuild: 1
targets:
  fp32: {}
  o2: {optimize: O2}
  int8: {quantize: {method: dynamic}}
  o2-int8: {optimize: O2, quantize: {method: dynamic}}
  half: {optimize: O1, precision: fp16}
  loose: {quantize: {method: dynamic}, validate: {thresholds: {top1: 0.5}}}
  free: {quantize: {method: dynamic}, validate: false}
"""
PROOF = {
    "int8": "m/int8:validate-fp32",
    "o2-int8": "m/o2-int8:validate-fp32",
    "half": "m/half:validate-fp32",
    "loose": "m/loose:validate-fp32",
}


@pytest.fixture
def graph(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(targets, more=""):
        model = f"models: {{m: {{source: random:bert, task: fill-mask, targets: [{targets}]{more}}}}}\n"
        (tmp_path / "m.yaml").write_text(TARGETS + model)
        return expand(load_manifest("m.yaml", kinds=KINDS), KINDS, Lock(), MACHINE)

    return run


@pytest.mark.parametrize(("target", "source"), [
    ("int8", "m:export"), ("loose", "m:export"), ("o2-int8", "m/o2-int8:optimize"), ("half", "m/half:optimize"),
])  # fmt: skip
def test_the_last_graph_in_fp32_is_validated_before_a_step_that_costs_accuracy(graph, target, source):
    found = graph(target)
    (variant,) = found.variants
    assert variant.proofs == (PROOF[target],)
    assert variant.checks == (f"m/{target}:validate",)
    proof = found.actions[PROOF[target]]
    assert proof.inputs["model"].action == source
    assert proof.params["precision"] == "fp32"
    assert proof.params["thresholds"].get("top1") != 0.5  # the bounds of the target are those of what it loses


@pytest.mark.parametrize(("targets", "shared"), [("fp32, int8", "m/fp32:validate"), ("o2, o2-int8", "m/o2:validate")])
def test_a_target_with_that_graph_shares_the_action(graph, targets, shared):
    found = graph(targets)
    assert found.variants[1].proofs == (shared,)
    assert not any(name.endswith("-fp32") for name in found.actions)


def test_several_targets_share_one_proof(graph):
    found = graph("int8, {name: q4, quantize: {method: weight-only}}")
    assert [variant.proofs for variant in found.variants] == [("m/int8:validate-fp32",)] * 2


@pytest.mark.parametrize(("targets", "more"), [
    ("fp32", ""), ("o2", ""), ("free", ""), ("int8", ", validate: false"), ("fp32", ", export: {dtype: fp16}"),
])  # fmt: skip
def test_what_is_in_fp32_or_not_validated_needs_no_proof(graph, targets, more):
    assert graph(targets, more).variants[0].proofs == ()


def test_the_settings_of_the_model_hold_for_the_proof(graph):
    found = graph("int8", ", validate: {shapes: [[3, 7]], max_length: 90}")
    params = found.actions["m/int8:validate-fp32"].params
    assert (params["shapes"], params["max_length"]) == ([[3, 7]], 90)


def test_a_proof_is_selected_with_its_variant_and_as_a_validation(graph):
    found = graph("int8")
    for selector in ("m/int8", ":validate", "m/int8:validate-fp32"):
        assert "m/int8:validate-fp32" in select(found, [selector]).actions
