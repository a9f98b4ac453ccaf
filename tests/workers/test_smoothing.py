"""Smoothing before dynamic int8: its scales and errors by hand, and graphs that compute the same with them inside."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from families import contents, exported, hard_links, minilm_files, run_step, scratch
from onnx import TensorProto, helper, numpy_helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.quantize import ModuleParams, QuantizeParams
from onnxbuild.workers.calibrate.calibration_texts import CALIBRATION_TEXTS
from onnxbuild.workers.inputs.sentences import SENTENCES
from onnxbuild.workers.quantize.quantizers import quantize_dynamic
from onnxbuild.workers.quantize.smoothing.activations import Activation, observe
from onnxbuild.workers.quantize.smoothing.groups import Group, Product, groups_in
from onnxbuild.workers.quantize.smoothing.scales import (
    STRENGTHS,
    choose,
    error_of,
    pairs_of,
    rounded_activation,
    rounded_weight,
    scales_of,
)
from onnxbuild.workers.quantize.smoothing.smooth import smooth
from onnxbuild.workers.quantize.worker import run

pytestmark = pytest.mark.heavy

INT8 = QuantizeParams(method="dynamic", preset="avx512_vnni")
AUTO = msgspec.structs.replace(INT8, smooth="auto")
OUTLIERS = np.array([1, 30, 0.2, 2, 1], np.float32)  # of five channels


def model_of(nodes, weights, *, inputs=("x",), channels=5, outputs=("y",), opset=18):
    """A graph with inputs [n, channels]; weights by name."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels]) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "m"]) for name in outputs],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    )


def matmul(activation, weight, output):
    return helper.make_node("MatMul", [activation, weight], [output], name=f"/{output}")


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def feeds(count=3, name="x", channels=5):
    """Samples of 3, 4 and 5 rows whose channels differ in size."""
    return [{name: random(3 + seed, channels, seed=seed) * np.resize(OUTLIERS, channels)} for seed in range(count)]


def result(model, fed):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, fed)


def copy_of(model):
    return onnx.ModelProto.FromString(model.SerializeToString())


def activation_of(rows):
    rows = np.asarray(rows, np.float32)
    return Activation(rows.min(axis=0)[None], rows.max(axis=0)[None], rows, np.zeros(len(rows), int))


ONE = Group((Product("m", "x", "w"),))


def smoothed(model, params=AUTO, fed=None):
    """A smoothed copy, and the facts."""
    changed = copy_of(model)
    facts = smooth(changed, params, lambda: feeds() if fed is None else fed, scratch(), {})
    onnx.checker.check_model(changed)
    return changed, facts


def test_a_scale_is_the_size_of_the_activation_against_that_of_the_weight():
    activations = {"x": activation_of([[4, -1, 0.25], [-2, 0.5, 0.125]])}
    weights = {"w": np.array([[1, -0.25], [2, 4], [1, 0.5]], np.float32)}
    # 4^.5 / 1^.5, 1^.5 / 4^.5, .25^.5 / 1^.5
    np.testing.assert_array_equal(scales_of(ONE, activations, weights, 0.5), np.float32([2, 0.5, 0.5]))
    # 4^.75 / 1 = 2^1.5, 1 / 4^.25 = 2^-.5, .25^.75 = 2^-1.5: eighths of an octave hold them
    np.testing.assert_allclose(scales_of(ONE, activations, weights, 0.75), 2 ** np.array([1.5, -0.5, -1.5]), rtol=1e-6)


def test_several_activations_and_weights_count_with_their_largest():
    group = Group((Product("a", "x", "w"), Product("b", "z", "v")))
    activations = {"x": activation_of([[4.0, 1]]), "z": activation_of([[1, -16.0]])}
    weights = {"w": np.float32([[1], [4]]), "v": np.float32([[-4], [1]])}
    np.testing.assert_array_equal(scales_of(group, activations, weights, 0.5), np.float32([1, 2]))


def test_a_silent_channel_has_a_finite_scale():
    activations = {"x": activation_of([[0, 1, 1], [0, 1, -1]])}
    weights = {"w": np.float32([[1], [0], [1]])}
    # The silent activation counts as 1/100 of the median 1, and so does the weight that is 0.
    scales = scales_of(ONE, activations, weights, 0.5)
    np.testing.assert_allclose(scales, [0.1, 10, 1], rtol=2 ** (1 / 16) - 1)
    silent = scales_of(ONE, {"x": activation_of(np.zeros((2, 3)))}, {"w": np.zeros((3, 1), np.float32)}, 0.7)
    np.testing.assert_array_equal(silent, np.ones(3, np.float32))


@pytest.mark.parametrize(("preset", "signed"), [("avx512_vnni", True), ("avx2", False)])
def test_the_simulation_computes_what_onnx_runtime_does(preset, signed):
    weight = random(5, 7, seed=9) * np.float32([1, 1, 3, 0.1, 2])[:, None]
    model = model_of([matmul("x", "w", "y")], {"w": weight})
    params = msgspec.structs.replace(INT8, preset=preset)
    quantized = quantize_dynamic(copy_of(model), params)
    for fed in feeds():
        rows = activation_of(fed["x"])
        simulated = rounded_activation(rows, np.ones(5, np.float32)) @ rounded_weight(weight, signed=signed)
        np.testing.assert_allclose(result(quantized, fed)[0], simulated, rtol=1e-5, atol=1e-4)


def test_the_range_of_an_activation_is_that_of_its_whole_sample():
    model = model_of([matmul("x", "w", "y")], {"w": random(5, 7)})
    rows = np.arange(500, dtype=np.float32).reshape(100, 5)
    seen = observe(model, ["x"], [{"x": rows}, {"x": -rows}], scratch())["x"]
    assert len(seen.rows) < 2 * len(rows)
    np.testing.assert_array_equal(seen.highs, [rows[-1], -rows[0]])
    np.testing.assert_array_equal(seen.lows, [rows[0], -rows[-1]])
    np.testing.assert_array_equal(seen.largest, rows[-1])
    rounded = rounded_activation(seen, np.ones(5, np.float32))
    steps = rounded / (499 / 255)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_never_worse_than_no_smoothing(seed, signed):
    channels = np.exp(random(11, seed=seed))
    activations = {"x": activation_of(random(9, 11, seed=seed + 1) * channels)}
    weights = {"w": random(11, 6, seed=seed + 2)}
    choice = choose(ONE, activations, weights, STRENGTHS, signed=signed)
    pairs = pairs_of(ONE, activations, weights)
    plain = error_of(pairs, np.ones(11, np.float32), signed=signed)
    assert choice.plain_error == plain
    assert choice.error == error_of(pairs, choice.scales, signed=signed) <= plain
    every = [error_of(pairs, scales_of(ONE, activations, weights, s), signed=signed) for s in STRENGTHS]
    assert choice.error in {plain, min(every)}


def test_equal_channels_are_left_alone_and_outliers_are_not():
    weights = {"w": np.tile(np.float32([[1, -1, 0.5]]), (5, 1))}
    even = {"x": activation_of(random(8, 5, seed=1).clip(-1, 1))}
    rows = random(8, 5, seed=1) * np.float32([100, 1, 1, 1, 1])
    assert choose(ONE, even, weights, (0.5,), signed=True).strength is None
    assert choose(ONE, {"x": activation_of(rows)}, weights, (0.5,), signed=True).strength == 0.5


NORM = helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["h"], name="/norm")
VECTORS = {"scale": [1, 2, 3, 4, 5], "bias": [5, 4, -3, 2, 1], "half": [1, 2, 1, 2, 1], "w": random(5, 7)}
UP = {"up": random(5, 5, seed=3), "up_bias": random(5, seed=4), "gate": random(5, 5, seed=5)}


@pytest.mark.parametrize(
    ("nodes", "folded"),
    [
        ([NORM, matmul("h", "w", "y")], True),
        ([helper.make_node("Mul", ["half", "x"], ["h"]), matmul("h", "w", "y")], True),
        (
            [
                helper.make_node("Mul", ["x", "half"], ["m"]),
                helper.make_node("Add", ["m", "bias"], ["h"]),
                matmul("h", "w", "y"),
            ],
            True,
        ),
        (
            [
                matmul("x", "up", "u"),
                helper.make_node("Add", ["up_bias", "u"], ["a"]),
                helper.make_node("Relu", ["a"], ["h"]),
                matmul("h", "w", "y"),
            ],
            True,
        ),
        (
            [
                matmul("x", "gate", "g"),
                helper.make_node("Sigmoid", ["g"], ["s"]),
                matmul("x", "up", "u"),
                helper.make_node("Mul", ["s", "u"], ["h"]),
                matmul("h", "w", "y"),
            ],
            True,
        ),
        ([helper.make_node("Sigmoid", ["x"], ["h"]), matmul("h", "w", "y")], False),
        (
            [
                NORM,
                matmul("h", "w", "p"),
                helper.make_node("ReduceSum", ["h"], ["r"]),
                helper.make_node("Add", ["p", "r"], ["y"]),
            ],
            False,
        ),
        ([helper.make_node("Mul", ["x", "x"], ["h"]), matmul("h", "w", "y")], False),
        ([helper.make_node("Add", ["x", "bias"], ["h"]), matmul("h", "w", "y")], False),
    ],
    ids=["norm", "factor", "factor and term", "relu", "gated", "not linear", "norm read twice", "square", "term only"],
)  # fmt: skip
def test_a_smoothed_graph_computes_the_same(nodes, folded):
    weights = {n: v for n, v in {**VECTORS, **UP}.items() if any(n in node.input for node in nodes)}
    model = model_of(nodes, weights)
    changed, facts = smoothed(model, msgspec.structs.replace(INT8, smooth=0.7))
    own = [name for name in facts["strengths"] if name in {"/y", "/p"}]
    assert own
    multiplications = sum(node.op_type == "Mul" for node in changed.graph.node)
    # Each graph has one product behind `h`; those that read `x` are behind an input, and always take a Mul.
    behind_input = any(node.op_type == "MatMul" and node.input[0] == "x" for node in nodes)
    added = multiplications - sum(node.op_type == "Mul" for node in nodes)
    assert added == (not folded) + behind_input
    assert (facts.get("folded", 0), facts.get("multiplied", 0)) == (int(folded), (not folded) + behind_input)
    for fed in feeds():
        np.testing.assert_allclose(result(changed, fed)[0], result(model, fed)[0], rtol=1e-4, atol=1e-3)
    before, after = (
        next(numpy_helper.to_array(t) for t in one.graph.initializer if t.name == "w") for one in (model, changed)
    )
    assert not np.array_equal(before, after)


def test_smoothing_makes_the_quantized_product_closer():
    model = model_of([NORM, matmul("h", "w", "y")], {**VECTORS, "scale": OUTLIERS})
    model.graph.initializer[-1].CopyFrom(model.graph.initializer[-1])
    changed, facts = smoothed(model)
    assert facts["error_after"] < facts["error_before"] / 2
    errors = []
    for one in (model, changed):
        quantized = quantize_dynamic(copy_of(one), INT8)
        errors.append(sum(np.square(result(quantized, f)[0] - result(model, f)[0]).sum() for f in feeds()))
    assert errors[1] < errors[0] / 2


def test_products_of_one_activation_share_their_scales_and_one_mul():
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["h"]),
        matmul("h", "q", "a"),
        matmul("h", "k", "b"),
        helper.make_node("Concat", ["a", "b"], ["y"], axis=1),
    ]
    model = model_of(nodes, {"q": random(5, 7), "k": random(5, 3)})
    changed, facts = smoothed(model, msgspec.structs.replace(INT8, smooth=0.6))
    assert facts["strengths"] == {"/a": 0.6}
    assert [node.op_type for node in changed.graph.node] == ["Sigmoid", "Mul", "MatMul", "MatMul", "Concat"]
    np.testing.assert_allclose(result(changed, feeds()[0])[0], result(model, feeds()[0])[0], rtol=1e-4, atol=1e-5)


def test_layers_that_share_a_weight_share_its_scales():
    nodes = [
        matmul("x", "w", "a"),
        helper.make_node("Tanh", ["a"], ["h"]),
        matmul("h", "w", "b"),
        helper.make_node("Sigmoid", ["b"], ["s"]),
        matmul("s", "v", "y"),
    ]
    model = model_of(nodes, {"w": random(5, 5), "v": random(5, 3)})
    groups, left = groups_in(model, INT8)
    assert ([group.activations for group in groups], left) == ([("x", "h"), ("s",)], {})
    changed, facts = smoothed(model, msgspec.structs.replace(INT8, smooth=0.7))
    assert facts["strengths"] == {"/a": 0.7, "/y": 0.7}
    assert len([t for t in changed.graph.initializer if t.dims == [5, 5]]) == 1
    np.testing.assert_allclose(result(changed, feeds()[0])[0], result(model, feeds()[0])[0], rtol=1e-4, atol=1e-5)


def test_groups_that_a_later_product_joins_become_one():
    nodes = [matmul("x", "w", "a"), matmul("z", "v", "b"), matmul("x", "v", "c"), matmul("x", "u", "d")]
    model = model_of(nodes, {n: random(5, 5) for n in "wvu"}, inputs=("x", "z"), outputs=tuple("abcd"))
    (group,), _ = groups_in(model, INT8)
    assert sorted(product.name for product in group.products) == ["/a", "/b", "/c", "/d"]
    assert set(group.activations) == {"x", "z"}
    assert set(group.weights) == {"w", "v", "u"}


def test_what_cannot_be_smoothed_is_named():
    nodes = [
        matmul("x", "tied", "a"),
        matmul("x", "deep", "b"),
        matmul("x", "left", "c"),
        matmul("x", "x_t", "d"),
        helper.make_node("Gather", ["tied", "place"], ["e"], name="/e"),
        helper.make_node("Transpose", ["x"], ["x_t"]),
    ]
    weights = {"tied": random(5, 3), "deep": random(2, 5, 3), "left": random(5, 2)}
    model = model_of(nodes, weights, outputs=tuple("abcde"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "place"))
    groups, left = groups_in(model, msgspec.structs.replace(INT8, exclude=("/c",)))
    assert groups == []
    assert left == {"a weight of three axes or more": ["/b"], "another node reads the weight": ["/a"]}
    assert groups_in(model, msgspec.structs.replace(INT8, operators=("Conv",)))[0] == []


def test_a_value_that_is_not_finite_is_not_smoothed():
    model = model_of([matmul("x", "w", "y")], {"w": random(5, 7)})
    fed = [{"x": np.full((3, 5), np.inf, np.float32)}]
    changed, facts = smoothed(model, fed=fed)
    assert facts["left"] == {"its input is not finite": ["/y"]}
    assert changed == model
    changed, facts = smoothed(model, fed=[])
    assert (facts["passes"], facts["left"]) == (0, {"no text reaches it": ["/y"]})


def test_a_second_file_gets_the_scales_of_the_first_for_an_equal_weight():
    known = {}
    weight = random(5, 7)
    first, second = (model_of([matmul("x", name, "y")], {name: weight}) for name in "wv")
    smooth(first, AUTO, lambda: feeds(1), scratch(), known)
    smooth(second, AUTO, lambda: [{"x": np.ones((2, 5), np.float32)}], scratch(), known)
    one, other = (numpy_helper.to_array(model.graph.initializer[0]) for model in (first, second))
    assert not np.array_equal(one, weight)
    np.testing.assert_array_equal(one, other)


def test_auto_goes_on_where_the_model_does_not_run_and_a_number_does_not():
    model = model_of([matmul("x", "w", "y")], {"w": random(5, 7)})

    def broken():
        raise CheckFailed("OBE37", "the graph takes an input `z` that samples do not have")
        yield

    facts = smooth(copy_of(model), AUTO, broken, scratch(), {})
    assert facts == {"skipped": "OBE37 the graph takes an input `z` that samples do not have"}
    with pytest.raises(CheckFailed, match="OBE37"):
        smooth(copy_of(model), msgspec.structs.replace(INT8, smooth=0.5), broken, scratch(), {})


def test_scales_are_measured_on_padded_batches_too():
    from onnxbuild.workers.quantize.text_feeds import text_feeds

    inputs = {"model": hard_links(exported("bert")[1])}
    calibrated, judged = (
        [fed["attention_mask"] for fed in text_feeds(AUTO, inputs, needs_rows=False, judges=judges)("model.onnx")]
        for judges in (False, True)
    )
    assert [len(mask) for mask in calibrated] == ([1] * 8 + [8]) * 6
    assert any(not mask.all() for mask in calibrated if len(mask) == 8)  # most texts are cut to 63 tokens
    assert [len(mask) for mask in judged] == [1] * len(SENTENCES)


def test_no_text_of_calibration_is_a_sentence_of_validation():
    assert not set(CALIBRATION_TEXTS) & set(SENTENCES)
    assert len(set(CALIBRATION_TEXTS)) == len(CALIBRATION_TEXTS) == 48


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "t5"])
def test_every_family_that_reads_text_is_smoothed_the_same_way_twice(family):
    (facts, folder), (_, again) = (run_step(run, AUTO, model=exported(family)[1]) for _ in range(2))
    assert contents(folder) == contents(again)
    smoothing = [file["smoothing"] for file in facts["files"].values() if "smoothing" in file]
    assert len(smoothing) == (3 if family == "t5" else 1)
    assert all("skipped" not in file and file["passes"] in {54, 108} for file in smoothing)
    assert all(file["error_after"] <= file["error_before"] for file in smoothing)
    fixed, _ = run_step(run, msgspec.structs.replace(INT8, smooth=0.7), model=exported(family)[1])
    counts = [file["smoothing"] for file in fixed["files"].values() if "smoothing" in file]
    assert all(set(file["strengths"].values()) == {0.7} for file in counts)
    # Norms before the layers (gpt2, llama, t5) take the scales in; behind bert's there is an addition.
    assert all((file.get("folded", 0) > 0) == (family != "bert") for file in counts)


def test_a_merged_decoder_still_stores_its_weights_once():
    sizes = {}
    for params in (INT8, AUTO, msgspec.structs.replace(INT8, smooth=0.7)):
        facts, _ = run_step(run, params, model=exported("t5")[1])
        assert facts["files"]["decoder_model_merged.onnx"]["merged"] is True
        sizes[params.smooth] = facts["files"]["decoder_model_merged.onnx"]["bytes"]
    plain = sizes.pop(INT8.smooth)
    assert max(sizes.values()) < 1.1 * plain


def test_a_model_that_reads_no_text_is_quantized_without():
    facts, folder = run_step(run, AUTO, model=exported("vit")[1])
    assert facts["files"]["model.onnx"]["smoothing"]["skipped"].startswith("OBE59 the model reads no text")
    assert "warnings" not in facts
    plain = run_step(run, INT8, model=exported("vit")[1])[1]
    assert contents(folder) == contents(plain)
    with pytest.raises(CheckFailed, match="OBE59") as caught:
        run_step(run, msgspec.structs.replace(INT8, smooth=0.7), model=exported("vit")[1])
    assert caught.value.failure.notes == (("hint", "write `smooth: off`"),)


def test_one_file_of_a_model_may_be_smoothed_and_the_others_not():
    params = msgspec.structs.replace(AUTO, modules={"decoder*": ModuleParams(smooth="off")})
    facts, _ = run_step(run, params, model=exported("t5")[1])
    assert {name for name, file in facts["files"].items() if "smoothing" in file} == {"encoder_model.onnx"}


def test_minilm_keeps_what_it_says():
    from onnxbuild.steps.export import ExportParams
    from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
    from onnxbuild.workers.export.worker import run as export
    from onnxbuild.workers.inputs.sample_source import open_source
    from onnxbuild.workers.inputs.samples import single_texts

    _, source = run_step(export, ExportParams(task="sentence-similarity"), model=minilm_files())
    quantized = {params.smooth: run_step(run, params, model=source)[1] for params in (INT8, AUTO)}
    exact = OnnxModel(source, threads=1)
    samples = list(single_texts(open_source(source, exact, "", seed=0, light=True), SENTENCES, 128))

    def vectors(model):
        return np.concatenate([model.run("forward", one.feeds)["sentence_embedding"] for one in samples])

    expected = vectors(exact)
    cosines = {}
    for smoothing, folder in quantized.items():
        found = vectors(OnnxModel(folder, threads=1))
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        cosines[smoothing] = (found * expected).sum(axis=1) / norms
    # Measured: means 0.9934 and 0.9981, the least 0.974 and 0.987.
    assert cosines["auto"].mean() > 0.997
    assert cosines[INT8.smooth].mean() < 0.995
    assert cosines["auto"].min() > cosines[INT8.smooth].min()
