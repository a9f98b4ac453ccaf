from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxbuild.workers.graphs.merge_decoder import merge_passes
from onnxbuild.workers.graphs.weights import name_weights_by_use, share_equal_weights

SHARED = np.arange(16, dtype=np.float32).reshape(4, 4)


def part(nodes, inputs, outputs, weights, opset=18) -> ModelProto:
    def values(named):
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in named.items()]

    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), stored)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def passes(**changes) -> tuple[ModelProto, ModelProto]:
    """A first pass, and one with a past; `w` is one weight in both, `own` another one in each, nodes share a name."""
    axes = {"x": ["n", 4]}
    first = part(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], name="product"),
            helper.make_node("Mul", ["h", "own"], ["logits"], name="scale"),
            helper.make_node("Add", ["x", "one"], ["present.0.encoder.key"], name="keys"),
        ],
        axes,
        {"logits": ["n", 4], "present.0.encoder.key": ["n", 4]},
        {"w": SHARED, "own": np.full(4, 2, np.float32), "one": np.float32(1)},
    )
    later = part(
        [
            helper.make_node("MatMul", ["x", "weight"], ["own_product"], name="product"),
            helper.make_node("Mul", ["own_product", "own"], ["w"], name="scale"),
            helper.make_node("Add", ["w", "past_key_values.0.encoder.key"], ["logits"], name="keys"),
        ],
        {**axes, "past_key_values.0.encoder.key": ["n", 4]},
        {"logits": ["n", 4]},
        {"weight": SHARED, "own": np.full(4, 3, np.float32)},
        **changes,
    )
    return first, later


def answers(model: ModelProto, *, cached: bool):
    rows = np.ones((2, 4), np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = {"x": rows, "past_key_values.0.encoder.key": rows * 10, "use_cache_branch": np.array([cached])}
    return dict(zip((one.name for one in session.get_outputs()), session.run(None, feeds), strict=True))


def test_a_branch_gives_what_its_part_gave_though_their_names_clash():
    merged = merge_passes(*passes())
    first, later = answers(merged, cached=False), answers(merged, cached=True)
    product = np.ones((2, 4), np.float32) @ SHARED
    np.testing.assert_array_equal(first["logits"], product * 2)
    np.testing.assert_array_equal(first["present.0.encoder.key"], np.full((2, 4), 2))
    np.testing.assert_array_equal(later["logits"], product * 3 + 10)
    assert later["present.0.encoder.key"].size == 0
    assert [i.name for i in merged.graph.input] == ["x", "past_key_values.0.encoder.key", "use_cache_branch"]
    # `w` is an inner value of the second branch, so the weight has another name; it is there once.
    assert sorted(tensor.name for tensor in merged.graph.initializer) == ["own", "own_1", "w_1"]


def test_a_merge_is_the_same_in_every_process_and_settles():
    one, other = merge_passes(*passes()), merge_passes(*passes())
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
    share_equal_weights(one)
    name_weights_by_use(one)
    names = [tensor.name for tensor in one.graph.initializer]
    assert len(set(names)) == len(names)
    np.testing.assert_array_equal(answers(one, cached=True)["logits"], answers(other, cached=True)["logits"])


def test_parts_that_cannot_be_merged():
    with pytest.raises(ValueError, match=r"the parts have different opsets of `ai\.onnx`"):
        merge_passes(*passes(opset=19))
    first, later = passes()
    later.graph.output.append(helper.make_tensor_value_info("present.1.key", TensorProto.FLOAT, ["n"]))
    with pytest.raises(ValueError, match=r"the first pass lacks present\.1\.key"):
        merge_passes(first, later)
    first, later = passes()
    for axis in first.graph.output[1].type.tensor_type.shape.dim:
        axis.dim_value = 4
    with pytest.raises(ValueError, match=r"no axis of `present\.0\.encoder\.key` is dynamic"):
        merge_passes(first, later)
