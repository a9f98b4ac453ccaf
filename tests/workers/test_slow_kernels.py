from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

onnxruntime = pytest.importorskip("onnxruntime")

from onnxbuild.workers.graphs.cpu_kernels import part_biased_gelus, part_skip_norms  # noqa: E402

pytestmark = pytest.mark.heavy

WIDTH = 16
SKIP = "SkipLayerNormalization"
RANDOM = np.random.default_rng(0)
WEIGHTS = {name: RANDOM.standard_normal(WIDTH).astype(np.float32) for name in ("scale", "offset", "bias")}
FEEDS = {name: RANDOM.standard_normal((2, 5, WIDTH)).astype(np.float32) for name in ("x", "y")}


def model(*nodes, outputs=("out",), opset=18, dtype=TensorProto.FLOAT):
    shape = ["batch", "tokens", WIDTH]
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, dtype, shape) for name in FEEDS if name in used],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        [numpy_helper.from_array(value.astype(kind), name) for name, value in WEIGHTS.items() if name in used],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def skip_norm(*inputs, outputs=("out",)):
    names = list(inputs or ("x", "y", "scale", "offset"))
    return helper.make_node(SKIP, names, list(outputs), domain="com.microsoft", epsilon=1e-5)


def norm(name, output="out"):
    return helper.make_node("LayerNormalization", [name, "scale", "offset"], [output], epsilon=1e-5)


def add(output="sum", inputs=("x", "y")):
    return helper.make_node("Add", list(inputs), [output])


def run(made):
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {value.name: FEEDS[value.name] for value in session.get_inputs()})


def loaded_operators(made, folder):
    """What a session turns a graph into when it loads it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "loaded.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "loaded.onnx").graph.node)


PARTED = {
    "fused": [skip_norm()],
    "fused, without an offset": [skip_norm("x", "y", "scale")],
    "fused, with a bias": [skip_norm("x", "y", "scale", "offset", "bias")],
    "an addition before a normalization": [add(), norm("sum")],
}


@pytest.mark.parametrize("name", PARTED)
def test_a_parted_norm_gives_the_same_and_stays_apart_when_it_is_loaded(name, tmp_path):
    made = model(*PARTED[name])
    wanted = run(made)
    assert loaded_operators(made, tmp_path)[SKIP] == 1, "this runtime does not fuse it: is the rewrite still needed?"
    assert part_skip_norms(made) == 1
    np.testing.assert_allclose(run(made), wanted, atol=2e-6)
    assert loaded_operators(made, tmp_path) == {"Sum": 1, "LayerNormalization": 1}


def test_the_sum_that_a_fused_norm_hands_on_is_still_there():
    made = model(skip_norm("x", "y", "scale", "offset", outputs=("out", "", "", "total")), outputs=("out", "total"))
    wanted = run(made)
    assert part_skip_norms(made) == 1
    for found, before in zip(run(made), wanted, strict=True):
        np.testing.assert_allclose(found, before, atol=2e-6)


LEFT = {
    "whose means are read": model(
        skip_norm(outputs=("out", "mean")), helper.make_node("Neg", ["mean"], ["minus"]), outputs=("out", "minus")
    ),
    "below opset 17": model(skip_norm(), opset=16),
    "in fp16": model(add(), norm("sum"), dtype=TensorProto.FLOAT16),
    "of a bias": model(add(inputs=("x", "bias")), norm("sum")),
    "before nothing": model(add("out")),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left(name):
    before = LEFT[name].SerializeToString()
    assert part_skip_norms(LEFT[name]) == 0
    assert LEFT[name].SerializeToString() == before


def test_a_biased_gelu_becomes_an_addition_and_a_gelu():
    made = model(helper.make_node("BiasGelu", ["x", "bias"], ["out"], domain="com.microsoft"))
    wanted = run(made)
    assert part_biased_gelus(made) == 1
    assert [node.op_type for node in made.graph.node] == ["Add", "Gelu"]
    np.testing.assert_allclose(run(made), wanted, atol=1e-6)
