from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxbuild.workers.graphs.products import fold_transposed_weights, gemm_to_matmul
from onnxbuild.workers.graphs.walk import count_operators
from onnxbuild.workers.graphs.weights import drop_unused_weights, share_equal_weights, tie_transposed_weights

pytestmark = pytest.mark.heavy

RNG = np.random.default_rng(0)


def model_of(nodes, weights, inputs=("x",), width=32):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name in inputs]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", values, [output], initializers)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def result_of(model):
    import onnxruntime

    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {}
    for value in session.get_inputs():
        feeds[value.name] = np.random.default_rng(1).standard_normal((5, 32)).astype(np.float32)
    return session.run(None, feeds)[0]


def weight(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("bias", [None, (48,), (1, 48), ()])
def test_a_gemm_becomes_a_matmul_with_equal_results(trans_b, bias):
    weights = {"w": weight(48, 32) if trans_b else weight(32, 48)}
    names = ["x", "w"]
    if bias is not None:
        weights["c"] = weight(*bias)
        names.append("c")
    model = model_of([helper.make_node("Gemm", names, ["y"], name="layer", transB=trans_b)], weights)
    before = result_of(model)
    assert gemm_to_matmul(model) == 1
    assert count_operators(model) == ({"MatMul": 1} if bias is None else {"Add": 1, "MatMul": 1})
    assert next(node.name for node in model.graph.node if node.op_type == "MatMul") == "layer"
    np.testing.assert_allclose(result_of(model), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attributes", [{"alpha": 2.0}, {"beta": 0.5}, {"transA": 1}])
def test_a_gemm_that_scales_or_turns_its_input_stays(attributes):
    model = model_of(
        [helper.make_node("Gemm", ["x", "w", "c"], ["y"], **attributes)], {"w": weight(32, 8), "c": weight(8)}
    )
    assert gemm_to_matmul(model) == 0
    assert count_operators(model) == {"Gemm": 1}


def test_a_gemm_of_two_computed_matrices_stays():
    model = model_of([helper.make_node("Gemm", ["x", "z"], ["y"], transB=1)], {}, inputs=("x", "z"))
    assert gemm_to_matmul(model) == 0


def test_a_weight_that_two_gemms_share_is_turned_once():
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="one", transB=1),
        helper.make_node("Gemm", ["h", "w"], ["y"], name="two", transB=1),
    ]
    model = model_of(nodes, {"w": weight(32, 32)})
    before = result_of(model)
    assert gemm_to_matmul(model) == 2
    drop_unused_weights(model)
    assert [tensor.name for tensor in model.graph.initializer] == ["w_transposed"]
    np.testing.assert_allclose(result_of(model), before, rtol=1e-4, atol=1e-4)


def test_a_tied_head_is_folded_and_tied_again():
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Add", ["x", "e"], ["h"]),
        helper.make_node("Transpose", ["table"], ["head"], perm=[1, 0]),
        helper.make_node("MatMul", ["h", "head"], ["y"], name="lm_head"),
    ]
    model = model_of(nodes, {"table": weight(64, 32), "ids": np.array([7, 1, 0, 2, 3])})
    before, size = result_of(model), model.ByteSize()
    assert fold_transposed_weights(model) == 1
    assert count_operators(model) == {"Add": 1, "Gather": 1, "MatMul": 1}
    np.testing.assert_array_equal(result_of(model), before)
    assert tie_transposed_weights(model) == 64 * 32 * 4
    assert [node.output[0] for node in model.graph.node if node.op_type == "Transpose"] == ["head"]
    assert model.ByteSize() < size + 100
    np.testing.assert_array_equal(result_of(model), before)


def test_a_symmetric_matrix_is_not_its_own_twin():
    table = weight(32, 32)
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": table + table.T})
    assert tie_transposed_weights(model) == 0


def test_equal_weights_are_stored_once():
    table = weight(32, 32)
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    model = model_of(nodes, {"a": table, "b": table.copy()})
    before = result_of(model)
    assert share_equal_weights(model) == 4096
    assert [tensor.name for tensor in model.graph.initializer] == ["a"]
    np.testing.assert_array_equal(result_of(model), before)


def test_equal_bytes_of_another_shape_are_another_weight():
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    model = model_of(nodes, {"a": np.zeros((32, 64), np.float32), "b": np.zeros((64, 32), np.float32)})
    assert share_equal_weights(model) == 0
