"""What each option of static quantization does to the graph. A cosine would not notice an option that is ignored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.graphs.graph_files import load_model
from onnxbuild.workers.quantize.static_ranges import quantize_with_ranges

pytestmark = pytest.mark.heavy

# The smallest value is -2, the largest 4.
ROWS = [{"x": np.array([[-2.0, 1.0, 0.5, 3.0]], np.float32)}, {"x": np.array([[0.0, 0.0, 4.0, -1.0]], np.float32)}]


def layers(opset: int = 18) -> ModelProto:
    """Two products with stored weights, `first` and `second`, and between them one of two computed values."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((4, 4)).astype(np.float32), name) for name in ("w1", "w2")]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
        helper.make_node("Transpose", ["h"], ["t"], name="turn", perm=[1, 0]),
        helper.make_node("MatMul", ["h", "t"], ["hh"], name="computed"),
        helper.make_node("MatMul", ["hh", "h"], ["back"], name="computed too"),
        helper.make_node("MatMul", ["back", "w2"], ["y"], name="second"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def quantized(tmp_path: Path, *, opset: int = 18, **options) -> ModelProto:
    path = tmp_path / "model.onnx"
    onnx.save(layers(opset), path)
    params = QuantizeParams(
        method="static", dataset="rows", calibration="minmax", **{"preset": "avx512_vnni", **options}
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    model, facts = quantize_with_ranges(load_model(path), scratch, params, lambda: iter(ROWS))
    assert facts["calibration"]["samples"] == len(ROWS)
    return model


def node(model: ModelProto, name: str) -> NodeProto:
    return next(one for one in model.graph.node if one.name == name)


def maker(model: ModelProto, value: str) -> NodeProto | None:
    return next((one for one in model.graph.node if value in one.output), None)


def stored(model: ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(one for one in model.graph.initializer if one.name == name))


def reads(model: ModelProto, name: str, place: int) -> NodeProto | None:
    """The DequantizeLinear that makes an input of a node, if one does."""
    made = maker(model, node(model, name).input[place])
    return made if made is not None and made.op_type == "DequantizeLinear" else None


def activation(model: ModelProto) -> tuple[float, np.dtype, float]:
    """Scale, type and zero point of what `first` reads."""
    dequantize = reads(model, "first", 0)
    assert dequantize is not None
    zero = stored(model, dequantize.input[2])
    return float(stored(model, dequantize.input[1])), zero.dtype, float(zero)


def test_products_with_a_stored_weight_are_quantized_and_no_others(tmp_path):
    model = quantized(tmp_path)
    found = {(name, place): reads(model, name, place) is not None
             for name in ("first", "computed", "computed too", "second") for place in (0, 1)}  # fmt: skip
    assert found == {
        ("first", 0): True, ("first", 1): True, ("second", 0): True, ("second", 1): True,
        ("computed", 0): False, ("computed", 1): False, ("computed too", 0): False, ("computed too", 1): False,
    }  # fmt: skip


@pytest.mark.parametrize(("bits", "kind", "steps"), [(8, np.uint8, 255), (16, np.uint16, 65535)])
def test_activations_have_the_bits_of_the_params_over_the_range_of_the_data(tmp_path, bits, kind, steps):
    scale, dtype, zero = activation(quantized(tmp_path, activations=bits))
    assert dtype == kind
    assert scale == pytest.approx(6.0 / steps, rel=1e-6)
    assert zero == pytest.approx(2.0 / 6.0 * steps, abs=1)


@pytest.mark.parametrize(
    ("opset", "bits", "domain"), [(18, 8, ""), (18, 16, "com.microsoft"), (20, 16, "com.microsoft"), (21, 16, "")]
)
def test_sixteen_bits_are_an_operator_of_the_standard_from_opset_21_on(tmp_path, opset, bits, domain):
    model = quantized(tmp_path, opset=opset, activations=bits)
    kinds = {"QuantizeLinear", "DequantizeLinear"}
    quantize = maker(model, reads(model, "first", 0).input[0])
    assert quantize.op_type == "QuantizeLinear"
    assert (quantize.domain, reads(model, "first", 0).domain) == (domain, domain)
    assert {one.domain for one in model.graph.node if one.op_type in kinds} == {domain}
    assert next(one.version for one in model.opset_import if one.domain == "") == opset


@pytest.mark.parametrize("excluded", ["first", "second"])
def test_an_excluded_node_reads_floats_and_its_weight_stays(tmp_path, excluded):
    model = quantized(tmp_path, exclude=(excluded,))
    other = {"first": "second", "second": "first"}[excluded]
    assert reads(model, excluded, 0) is None
    assert reads(model, excluded, 1) is None
    assert reads(model, other, 1) is not None
    weight = node(model, excluded).input[1]
    np.testing.assert_array_equal(stored(model, weight), stored(layers(), weight))


@pytest.mark.parametrize(("per_channel", "shape"), [(True, (4,)), (False, ())])
def test_a_scale_for_each_column_or_one_for_all(tmp_path, per_channel, shape):
    model = quantized(tmp_path, per_channel=per_channel)
    dequantize = reads(model, "first", 1)
    assert stored(model, dequantize.input[1]).shape == shape


@pytest.mark.parametrize(("preset", "kind"), [("avx2", np.uint8), ("avx512_vnni", np.int8), ("arm64", np.int8)])
def test_a_preset_says_which_integers_the_weights_are(tmp_path, preset, kind):
    model = quantized(tmp_path, preset=preset)
    assert stored(model, reads(model, "first", 1).input[0]).dtype == kind
    assert activation(model)[1] == np.uint8  # whatever the weights are


def test_only_the_operators_of_the_params_are_quantized(tmp_path):
    model = quantized(tmp_path, operators=("Transpose",))
    assert reads(model, "first", 1) is None
    assert reads(model, "second", 1) is None


def test_the_output_of_a_product_stays_in_float(tmp_path):
    model = quantized(tmp_path)
    assert [one.op_type for one in model.graph.node if "h" in one.input and one.op_type == "QuantizeLinear"] == []
