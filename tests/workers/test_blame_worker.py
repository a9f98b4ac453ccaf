"""Comparing two graphs node by node: what corresponds, what was changed, and what each change adds."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from families import exported, optimized, run_step, scratch
from onnx import TensorProto, helper, numpy_helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.checks.blame_nodes import BlameParams
from onnxbuild.steps.precision import PrecisionParams
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.blame import measured_nodes
from onnxbuild.workers.blame.measured_nodes import Pair
from onnxbuild.workers.blame.ranking import ranked
from onnxbuild.workers.blame.worker import run
from onnxbuild.workers.precision.worker import run as precision
from onnxbuild.workers.quantize.worker import run as quantize

pytestmark = pytest.mark.heavy

WIDTH = 7
RNG = np.random.default_rng(0)
WEIGHTS = {f"w{number}": RNG.normal(size=(WIDTH, WIDTH)).astype(np.float32) for number in range(3)}
ROWS = [{"x": RNG.normal(size=(1, length, WIDTH)).astype(np.float32)} for length in (1, 3, 5)]


def chain(**changed):
    """x → MatMul first → Relu → MatMul second → Add with x → MatMul third."""
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("MatMul", ["b", "w1"], ["c"], name="second"),
        helper.make_node("Add", ["c", "x"], ["d"], name="sum"),
        helper.make_node("MatMul", ["d", "w2"], ["y"], name="third"),
    ]
    return model_of(nodes, {**WEIGHTS, **changed})


def model_of(nodes, weights):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "n", WIDTH]) for name in ("x", "y")]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], stored)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def compared(before, after):
    pair = Pair(before, after, ROWS, scratch())
    return pair, pair.errors()


def test_only_the_node_that_is_wrong_is_blamed_and_not_those_that_pass_its_error_on():
    pair, errors = compared(chain(), chain(w1=-WEIGHTS["w1"]))
    (one,) = ranked(pair.between, errors)
    assert (one.name, one.operator, one.error_before, one.quantized) == ("second", "MatMul", 0.0, False)
    assert one.error_after == pytest.approx(2.0)
    assert errors.relative["y"] > 0.1
    assert errors.added["y"] == 0.0


def test_what_a_node_adds_is_what_its_weights_change_in_the_inputs_that_it_got():
    noise = np.float32(0.01)
    pair, errors = compared(chain(), chain(w0=WEIGHTS["w0"] + noise, w2=WEIGHTS["w2"] - noise))
    found = {one.name: one for one in ranked(pair.between, errors)}
    assert sorted(found) == ["first", "third"]
    inputs = [np.maximum(row["x"] @ (WEIGHTS["w0"] + noise), 0) @ WEIGHTS["w1"] + row["x"] for row in ROWS]
    added = np.concatenate([(one @ np.full((WIDTH, WIDTH), noise)).ravel() for one in inputs])
    assert found["third"].added == pytest.approx(np.sqrt(np.mean(added**2)), rel=1e-4)
    assert found["third"].error_before == pytest.approx(errors.relative["d"])
    assert found["third"].error_before > 0


def test_graphs_that_compute_the_same_have_no_node_to_blame():
    pair, errors = compared(chain(), chain())
    assert pair.between.changed == {}
    assert ranked(pair.between, errors) == []
    assert set(errors.relative.values()) == {0.0}


def test_another_name_for_a_weight_is_no_change():
    other = chain()
    for node in other.graph.node:
        node.name += "_"
        for place, name in enumerate(node.input):
            node.input[place] = name.replace("w", "weight")
    for tensor in other.graph.initializer:
        tensor.name = tensor.name.replace("w", "weight")
    assert compared(chain(), other)[0].between.changed == {}


def test_a_node_that_reads_another_tensor_is_changed():
    other = chain()
    other.graph.node[3].input[1] = "a"
    pair, errors = compared(chain(), other)
    assert [one.name for one in ranked(pair.between, errors)] == ["sum"]


def test_a_fused_node_is_compared_through_the_tensor_that_it_ends_in():
    product = (WEIGHTS["w0"] @ WEIGHTS["w1"]).astype(np.float32)
    fused = [
        helper.make_node("MatMul", ["x", "p"], ["c"], name="fused"),
        helper.make_node("Add", ["c", "x"], ["d"], name="sum"),
        helper.make_node("MatMul", ["d", "w2"], ["y"], name="third"),
    ]
    pair, errors = compared(chain(), model_of(fused, {"p": product, "w2": WEIGHTS["w2"]}))
    assert sorted(pair.between.pairs) == ["c", "d", "y"]
    (one,) = ranked(pair.between, errors)
    assert one.name == "second"
    assert one.error_before == 0.0, "its nearest input that both graphs have is x"


def test_a_tensor_of_another_shape_is_left_out():
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["e"], name="first"),
        helper.make_node("Transpose", ["e"], ["a"], name="turn", perm=[0, 2, 1]),
        helper.make_node("Relu", ["e"], ["b"], name="relu"),
        helper.make_node("MatMul", ["b", "w1"], ["c"], name="second"),
        helper.make_node("Add", ["c", "x"], ["d"], name="sum"),
        helper.make_node("MatMul", ["d", "w2"], ["y"], name="third"),
    ]
    assert "a" not in compared(chain(), model_of(nodes, WEIGHTS))[0].between.pairs


@pytest.mark.parametrize("values", [1, WIDTH * 5 * 2])
def test_the_size_of_the_groups_changes_nothing(monkeypatch, values):
    after = chain(w0=WEIGHTS["w0"] * np.float32(1.1), w2=-WEIGHTS["w2"])
    expected = compared(chain(), after)[1]
    monkeypatch.setattr(measured_nodes, "_VALUES_AT_ONCE", values)
    assert compared(chain(), after)[1] == expected


def blamed(before, after, **params):
    facts, folder = run_step(run, BlameParams(**params), "report", before=before, after=after)
    return facts["graphs"], json.loads((folder / "blame.json").read_text())


def test_the_products_of_int8_are_the_nodes_of_the_graph_before_it():
    before = optimized("bert")[1]
    after = run_step(quantize, QuantizeParams(method="dynamic", preset="avx512_vnni"), model=before)[1]
    (graph,), report = blamed(before, after)
    names = {node.name for node in onnx.load(before / "model.onnx").graph.node}
    assert graph["file"] == "model.onnx"
    worst = [one["name"] for one in graph["nodes"]]
    assert set(worst) <= names
    assert all(one["quantized"] and one["named"] for one in graph["nodes"])
    assert len(report["model.onnx"]) >= len(graph["nodes"])
    params = QuantizeParams(method="dynamic", preset="avx512_vnni", exclude=tuple(worst[:3]))
    (fewer,), _ = blamed(before, run_step(quantize, params, model=before)[1])
    assert not {one["name"] for one in fewer["nodes"]} & {*worst[:3]}


@pytest.mark.parametrize("params", [{"method": "weight-only", "bits": 4}, {"method": "dynamic", "preset": "avx2"}])
def test_each_graph_of_an_encoder_decoder(params):
    before = exported("t5")[1]
    after = run_step(quantize, QuantizeParams(**params), model=before)[1]
    graphs, _ = blamed(before, after, samples=2)
    assert sorted(one["file"] for one in graphs) == [
        "decoder_model.onnx", "decoder_with_past_model.onnx", "encoder_model.onnx"
    ]  # fmt: skip
    assert all(node["quantized"] for graph in graphs for node in graph["nodes"])
    assert all(graph["nodes"] for graph in graphs)


def test_a_model_with_a_past_in_half_precision():
    before = exported("gpt2")[1]
    after = run_step(precision, PrecisionParams(dtype="fp16", keep_io_types=False), model=before)[1]
    (graph,), _ = blamed(before, after, samples=2)
    assert graph["compared"] > 20
    assert graph["nodes"]
    assert not any(one["quantized"] for one in graph["nodes"])
    assert all(one["error_after"] < 0.05 for one in graph["nodes"])


def test_a_model_without_text():
    before = exported("vit")[1]
    after = run_step(quantize, QuantizeParams(method="dynamic", preset="avx2"), model=before)[1]
    (graph,), _ = blamed(before, after)
    assert all(one["quantized"] for one in graph["nodes"])
    assert graph["nodes"]


def test_graphs_with_other_names_cannot_be_compared(tmp_path):
    before = exported("bert")[1]
    (tmp_path / "other.onnx").write_bytes((before / "model.onnx").read_bytes())
    with pytest.raises(CheckFailed) as caught:
        run_step(run, BlameParams(), "report", before=before, after=tmp_path)
    assert caught.value.failure.code == "OBE120"
