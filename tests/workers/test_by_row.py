"""Ranges by row: the graph computes the same, the rounding is that of ONNX Runtime, and a search takes them."""

from __future__ import annotations

import msgspec
import numpy as np
import onnxruntime
import pytest
from families import scratch, silent
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.folders.journal import Journal
from onnxbuild.workers.quantize.quantizers import quantize_dynamic
from onnxbuild.workers.quantize.search.by_row import by_row
from onnxbuild.workers.quantize.search.search import Rows, search
from onnxbuild.workers.quantize.smoothing.activations import Activation
from onnxbuild.workers.quantize.smoothing.scales import rounded_by_row, rounded_weight

pytestmark = pytest.mark.heavy

AUTO = QuantizeParams(method="auto", preset="avx512_vnni", smooth="auto", subject_to={"cosine_mean": ">= 0.999"})


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rows_of_many_sizes(count=24, channels=16, seed=1):
    """Rows whose sizes differ by a factor of a thousand, and one of zeros."""
    rows = random(count, channels, seed=seed) * np.logspace(0, -3, count, dtype=np.float32)[:, None]
    rows[3] = 0
    return rows


def two_products(opset=18):
    """Two products that read the same activation, and one that reads the sum of their results."""
    weights = {"q": random(16, 8, seed=2), "k": random(16, 8, seed=3), "out": random(8, 4, seed=4)}
    nodes = [
        helper.make_node("MatMul", ["x", "q"], ["a"], name="q"),
        helper.make_node("MatMul", ["x", "k"], ["b"], name="k"),
        helper.make_node("Add", ["a", "b"], ["c"], name="sum"),
        helper.make_node("MatMul", ["c", "out"], ["y"], name="out"),
    ]
    stored = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


FEEDS = [{"x": rows_of_many_sizes(seed=seed)} for seed in range(4)]


def result(model, fed):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, fed)[0]


def errors_of_rows(model):
    """For each row that is not zero, the length of the error of a quantized graph relative to that of the row."""
    exact = result(two_products(), FEEDS[0])
    found = result(quantize_dynamic(model, msgspec.structs.replace(AUTO, method="dynamic")), FEEDS[0])
    lengths = np.linalg.norm(exact, axis=1)
    return np.linalg.norm(found - exact, axis=1)[lengths > 0] / lengths[lengths > 0]


@pytest.mark.parametrize("opset", [13, 18])
def test_the_fp32_graph_computes_the_same_and_a_row_of_zeros_stays_zero(opset):
    model = two_products(opset)
    ranges = by_row(model, AUTO, lambda: FEEDS, scratch())
    assert list(ranges.candidates) == ["q", "out"]
    assert model == two_products(opset)
    made = ranges.made(["q", "out"])
    exact, found = result(model, FEEDS[0]), result(made, FEEDS[0])
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-7)
    assert not found[3].any()
    # One division for the two products that read the same rows.
    assert sum(node.op_type == "Div" for node in made.graph.node) == 2
    assert not any(node.op_type == "Div" for node in ranges.made([]).graph.node)


def test_a_small_row_keeps_its_digits_beside_a_large_one():
    ranges = by_row(two_products(), AUTO, lambda: FEEDS, scratch())
    whole, single = errors_of_rows(ranges.made([])), errors_of_rows(ranges.made(["q", "out"]))
    assert whole.max() > 0.5  # rows a thousand times smaller than the largest are lost
    assert single.max() < 0.05


def test_the_simulation_computes_what_the_graph_does():
    rows, weight = rows_of_many_sizes(), random(16, 8, seed=2)
    activation = Activation(rows.min(axis=0)[None], rows.max(axis=0)[None], rows, np.zeros(len(rows), int))
    simulated = rounded_by_row(activation, np.ones(16, np.float32)) @ rounded_weight(weight, signed=True)
    model = ModelProto()
    model.CopyFrom(two_products())
    ranges = by_row(model, AUTO, lambda: FEEDS, scratch())
    plain = {
        name: one._replace(by_row=one.by_row._replace(strength=None), plain=one.plain._replace(strength=None))
        for name, one in ranges.candidates.items()
    }
    made = ranges._replace(candidates=plain).made(["q"])
    del made.graph.output[:]
    made.graph.output.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", 8]))
    found = result(quantize_dynamic(made, msgspec.structs.replace(AUTO, method="dynamic")), {"x": rows})
    # The graph has one range over all shares, which reach from -1 to 1; the simulation has one for each row.
    size = np.abs(rows @ weight).max(axis=1, keepdims=True) + 1e-9
    assert np.abs((found - simulated) / size).max() < 0.04


def test_a_search_takes_ranges_by_row_where_they_are_cheaper():
    ranges = by_row(two_products(), AUTO, lambda: FEEDS, scratch())
    cheap = {name: one._replace(cost=1.0) for name, one in ranges.candidates.items()}
    rows = Rows(FEEDS, FEEDS)
    model, facts = search(ranges.made([]), AUTO, rows, scratch(), silent, Journal(), ranges._replace(candidates=cheap))
    chosen = facts["chosen"]
    assert (chosen["recipe"], chosen["holds"]) == ("int8 by row", True)
    assert chosen["by_row"] == len(facts["by_row"]) > 0
    assert facts["taken_back"] == {}
    assert {node.op_type for node in model.graph.node} >= {"MatMulInteger", "ReduceMax", "Div"}
    assert chosen["cost"] == min(trial["cost"] for trial in facts["trials"] if trial["holds"])
    dear = {name: one._replace(cost=1e9) for name, one in ranges.candidates.items()}
    _, facts = search(ranges.made([]), AUTO, rows, scratch(), silent, Journal(), ranges._replace(candidates=dear))
    assert "by_row" not in facts
    assert facts["taken_back"]


def test_where_all_rows_do_not_suffice_nodes_are_taken_back_too():
    ranges = by_row(two_products(), AUTO, lambda: FEEDS, scratch())
    strict = msgspec.structs.replace(AUTO, subject_to={"cosine_mean": ">= 0.999954"})
    _, facts = search(ranges.made([]), strict, Rows(FEEDS, FEEDS), scratch(), silent, Journal(), ranges)
    recipes = [trial["recipe"] for trial in facts["trials"]]
    assert "int8 by row, 8-bit weights" in recipes
    assert (facts["chosen"]["recipe"], facts["chosen"]["holds"]) == ("int8 by row, 8-bit weights", True)
