"""Angles stay in float: a matrix of frequencies, and a table of angles, before Sin and Cos, with each method."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

for module in ("onnxruntime", "onnx"):
    pytest.importorskip(module)

from families import scratch, silent  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.quantize import QuantizeParams  # noqa: E402
from onnxbuild.workers.engines.smoke_run import open_for_check  # noqa: E402
from onnxbuild.workers.folders.journal import Journal  # noqa: E402
from onnxbuild.workers.graphs.angles.angle_products import angles  # noqa: E402
from onnxbuild.workers.graphs.graph_files import save_model  # noqa: E402
from onnxbuild.workers.model_folder.counted_steps import CountedSteps  # noqa: E402
from onnxbuild.workers.quantize.effect import check_effect  # noqa: E402
from onnxbuild.workers.quantize.quantized import ANGLE  # noqa: E402
from onnxbuild.workers.quantize.worker import _Given, _quantized  # noqa: E402

pytestmark = pytest.mark.heavy

METHODS = {
    "int8": QuantizeParams(method="dynamic", preset="avx2"),
    "static": QuantizeParams(method="static", preset="avx2", dataset="text", operators=("MatMul", "Gather")),
    "auto": QuantizeParams(method="auto", preset="avx2", subject_to={"cosine_mean": ">= 0.9"}),
    "q8": QuantizeParams(method="weight-only", bits=8),
    "q4": QuantizeParams(method="weight-only"),
    "k_quant": QuantizeParams(method="weight-only", algorithm="k_quant"),
    "gptq": QuantizeParams(method="weight-only", algorithm="gptq", dataset="text"),
    "nf4": QuantizeParams(method="weight-only", algorithm="nf4"),
}
# The largest difference, as a share of the largest number: measured, with a factor of 2. Rounded angles give 0.9 to 2.
BOUNDS = {"int8": 0.03, "static": 0.03, "auto": 0.03, "q8": 0.03}
OF_4_BITS = 0.3


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs, [output], name=f"n_{output}", **attributes)


def normal(*shape):
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


FREQUENCIES, TABLE, WEIGHT = 9 * normal(3, 32), 40 * normal(11, 32), normal(96, 160) / 10


def built(nodes, weights, *, of_x=("n", 3)):
    x, i = helper.make_tensor_value_info("x", 1, of_x), helper.make_tensor_value_info("i", TensorProto.INT64, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [x, i], [y], stored)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def waves():
    """[sin a, cos a, cos t] W of a = 2π(x F - 1) and a row t of a table, as position encodings compute."""
    weights = {"f": FREQUENCIES, "table": TABLE, "w": WEIGHT, "one": np.float32(1), "tau": np.float32(2 * np.pi)}
    nodes = [
        node("MatMul", ["x", "f"], "product"),
        node("Sub", ["product", "one"], "moved"),
        node("Mul", ["tau", "moved"], "angle"),
        node("Sin", ["angle"], "sin"),
        node("Cos", ["angle"], "cos"),
        node("Gather", ["table", "i"], "row"),
        node("Cos", ["row"], "cos_of_row"),
        node("Concat", ["sin", "cos", "cos_of_row"], "encoded", axis=1),
        node("MatMul", ["encoded", "w"], "y"),
    ]
    return built(nodes, weights)


def right(x, i):
    angle = 2 * np.pi * (x.astype(np.float64) @ FREQUENCIES.astype(np.float64) - 1)
    rows = np.cos(TABLE.astype(np.float64)[i])
    return np.concatenate([np.sin(angle), np.cos(angle), rows], axis=1) @ WEIGHT


def fed(seed, rows=13):
    generator = np.random.default_rng(seed)
    return {"x": generator.random((rows, 3), np.float32), "i": generator.integers(0, 11, rows)}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_angles_in_float(method):
    folder = scratch()
    onnx.save(waves(), folder / "model.onnx")
    given = _Given(
        lambda: [fed(1), fed(2)], lambda: [fed(3), fed(4)], {}, None, silent, Journal(None), CountedSteps(silent, 0)
    )
    model, facts = _quantized(folder / "model.onnx", METHODS[method], given)
    save_model(model, folder / "quantized.onnx")
    feeds = fed(5)
    found, exact = open_for_check(folder / "quantized.onnx", optimize=True).run(None, feeds)[0], right(**feeds)
    assert np.abs(found - exact).max() / np.abs(exact).max() < BOUNDS.get(method, OF_4_BITS)
    assert facts["left_in_float"][ANGLE] == ["n_product", "n_row"]
    assert sum(facts["quantized"].values()) == 1


def test_only_what_reaches_a_wave_as_an_angle_is_one():
    weights = {"a": normal(3, 5), "b": normal(5, 5), "c": normal(3, 5), "d": normal(5, 7), "t": normal(11, 5),
               "k": np.array([5, -1])}  # fmt: skip
    nodes = [
        node("MatMul", ["x", "a"], "hidden"),  # its rounding is that of a value, which the next product reads
        node("MatMul", ["hidden", "b"], "turned"),
        node("Transpose", ["turned"], "across"),
        node("Cast", ["across"], "half", to=TensorProto.FLOAT16),
        node("Cos", ["half"], "cos"),
        node("MatMul", ["x", "c"], "score"),
        node("Softmax", ["score"], "share"),
        node("Gather", ["t", "i"], "row"),
        node("Mul", ["share", "row"], "angle"),
        node("Reshape", ["angle", "k"], "reshaped"),
        node("Sin", ["reshaped"], "sin"),
        node("MatMul", ["sin", "d"], "y"),
    ]
    assert angles(built(nodes, weights)) == ["n_row", "n_turned"]


def test_an_angle_in_a_branch_of_a_product_outside_of_it():
    branch = helper.make_graph([node("Sin", ["product"], "out")], "b", [], [helper.make_empty_tensor_value_info("out")])
    nodes = [
        node("MatMul", ["x", "f"], "product"),
        node("Cast", ["i"], "flag", to=TensorProto.BOOL),
        helper.make_node("If", ["flag"], ["y"], name="if", then_branch=branch, else_branch=branch),
    ]
    assert angles(built(nodes, {"f": FREQUENCIES})) == ["n_product"]


def test_a_model_of_nothing_but_angles_is_told_to_stay_in_float():
    file = {"quantized": {}, "left_in_float": {ANGLE: ["n"]}, "bytes": 2, "bytes_before": 2}
    with pytest.raises(CheckFailed) as caught:
        check_effect({"files": {"model.onnx": file}}, METHODS["q4"])
    assert str(caught.value) == "OBE48 nothing was quantized in model.onnx"
    assert caught.value.failure.notes == (
        ("found", "its result is an angle, which is read by Sin or Cos"),
        ("hint", "leave `quantize:` out for this model: rounded angles would change what it computes"),
    )
