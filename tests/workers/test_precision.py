import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from families import (
    checkpoint,
    contents,
    exported,
    generated_by,
    generated_by_torch,
    optimized,
    outputs_of,
    run_step,
    scratch,
)
from onnx import TensorProto, helper, numpy_helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.precision import PrecisionParams, precision_after
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.engines.smoke_run import open_for_check
from onnxbuild.workers.precision.worker import run

pytestmark = pytest.mark.heavy

FP16 = PrecisionParams(dtype="fp16")


def config_of(architecture):
    return json.loads((checkpoint(architecture) / "config.json").read_text())


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "gpt2", "llama", "vit", "wav2vec2"])
def test_every_family_halves_and_stays_near(architecture):
    source = exported(architecture)[1]
    facts, folder = run_step(run, FP16, model=source)
    assert facts["ran"] is True
    assert facts["bytes"] < 0.7 * facts["bytes_before"]
    assert set(contents(folder)) == set(contents(source))
    before, after = (outputs_of(path / "model.onnx", config_of(architecture))[0] for path in (source, folder))
    assert after.dtype == np.float32
    np.testing.assert_allclose(after, before, atol=2e-2)
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_a_fused_graph_too(architecture):
    facts, folder = run_step(run, FP16, model=optimized(architecture)[1])
    assert facts["ran"] is True
    before, after = (outputs_of(path / "model.onnx")[0] for path in (exported(architecture)[1], folder))
    np.testing.assert_allclose(after, before, atol=2e-2)


def test_inputs_and_outputs_in_half_precision():
    _, folder = run_step(run, PrecisionParams(dtype="fp16", keep_io_types=False), model=exported("gpt2")[1])
    graph = onnx.load(folder / "model.onnx").graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)}
    assert {types["logits"], types["past_key_values.0.key"], types["present.0.key"]} == {TensorProto.FLOAT16}
    assert types["input_ids"] == TensorProto.INT64


def test_an_encoder_decoder_in_all_its_files():
    facts, folder = run_step(run, PrecisionParams(dtype="fp16", keep_fp32="auto"), model=exported("t5")[1])
    assert facts["files"]["decoder_model_merged.onnx"]["merged"] is True
    assert all(file["overflow_samples"] for file in facts["files"].values() if "half" in file)
    assert len(generated_by(folder, "t5")[0]) == len(generated_by_torch(checkpoint("t5"), "t5")[0])


def test_four_bits_with_half_precision_around_them():
    from onnxbuild.workers.quantize.worker import run as quantize

    _, quantized = run_step(quantize, QuantizeParams(method="weight-only"), model=exported("bert")[1])
    facts, folder = run_step(run, FP16, model=quantized)
    assert facts["ran"] is True
    model = onnx.load(folder / "model.onnx")
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    scales = {stored[node.input[2]] for node in model.graph.node if node.op_type == "MatMulNBits"}
    assert scales == {TensorProto.FLOAT16}
    assert precision_after(FP16, "q4") == "q4f16"
    assert [precision_after(PrecisionParams(dtype="bf16"), p) for p in ("fp32", "q8")] == ["bf16", "q8bf16"]


def test_operators_and_nodes_that_stay():
    source = exported("bert")[1]
    name = next(n.name for n in onnx.load(source / "model.onnx").graph.node if n.op_type == "MatMul")
    params = PrecisionParams(dtype="fp16", keep_fp32=("LayerNormalization", name))
    facts, folder = run_step(run, params, model=source)
    kept = facts["files"]["model.onnx"]["kept_fp32"]
    assert name in kept
    assert sum("LayerNorm" in one for one in kept) == len(kept) - 1 == 5
    before, after = (outputs_of(path / "model.onnx")[0] for path in (source, folder))
    np.testing.assert_allclose(after, before, atol=2e-2)


def test_a_name_with_a_typo():
    params = PrecisionParams(dtype="fp16", keep_fp32=("LayerNormalisation",))
    with pytest.raises(CheckFailed) as caught:
        run_step(run, params, model=exported("bert")[1])
    assert str(caught.value) == "OBE50 `keep_fp32` names `LayerNormalisation`, and no operator or node has this name"
    assert caught.value.failure.notes == (("hint", "did you mean `LayerNormalization`?"),)


def overflowing_model():
    """A BERT whose first dense layer returns numbers too large for fp16, and whose next one makes them small again."""
    folder = scratch()
    for path in exported("bert")[1].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    model = onnx.load(folder / "model.onnx")
    for tensor in model.graph.initializer:
        layer = "bert.encoder.layer.0.intermediate.dense.bias"
        if tensor.name == layer:
            array = numpy_helper.to_array(tensor) + np.float32(1e5)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, folder / "model.onnx")
    return folder


def test_what_overflows_is_found_and_kept():
    folder = overflowing_model()
    _, cut = run_step(run, FP16, model=folder)
    facts, result = run_step(run, PrecisionParams(dtype="fp16", keep_fp32="auto"), model=folder)
    file = facts["files"]["model.onnx"]
    assert 1e5 <= max(file["overflow"].values()) < 2.5e5
    assert 0 < len(file["kept_fp32"]) < file["half"] / 3
    before, after = (outputs_of(path / "model.onnx")[0] for path in (folder, result))
    assert np.abs(after - before).max() < 2e-2
    # Half precision ends at 65504: without the exception the bias is cut off there, and with it, it is what it was.
    assert largest_bias(cut) <= 65504
    assert largest_bias(result) >= 1e5


def largest_bias(folder: Path) -> float:
    model = onnx.load(folder / "model.onnx")
    return max(
        float(np.abs(numpy_helper.to_array(tensor).astype(np.float64)).max())
        for tensor in model.graph.initializer
        if "layer.0.intermediate.dense.bias" in tensor.name
    )


def test_bf16_has_the_digits_of_the_original_and_valid_types():
    facts, folder = run_step(run, PrecisionParams(dtype="bf16"), model=exported("bert")[1])
    assert facts["ran"] is False
    model = onnx.load(folder / "model.onnx")
    assert all(tensor.data_type != TensorProto.FLOAT16 for tensor in model.graph.initializer)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    assert inferred.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    before = {t.name: t for t in onnx.load(exported("bert")[1] / "model.onnx").graph.initializer}
    name = "bert.embeddings.word_embeddings.weight"
    after = next(t for t in model.graph.initializer if t.name == name)
    exact, rounded = numpy_helper.to_array(before[name]), numpy_helper.to_array(after).astype(np.float32)
    np.testing.assert_allclose(rounded, exact, rtol=2**-8)


def test_a_graph_that_is_half_already_gets_no_smaller():
    _, folder = run_step(run, FP16, model=exported("bert")[1])
    with pytest.raises(CheckFailed) as caught:
        run_step(run, FP16, model=folder)
    assert caught.value.failure.code == "OBE49"


@pytest.mark.parametrize("keep_io_types", [True, False])
def test_branches_stay_in_fp32_and_get_what_they_take_from_outside(keep_io_types):
    """One reads a weight, an input and a result of what is around it; the other makes numbers too large for fp16."""
    folder = scratch()
    weight = numpy_helper.from_array(np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64), "weight")
    given = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)
    one = [helper.make_node("MatMul", ["twice", "weight"], ["product"]),
           helper.make_node("Add", ["product", "x"], ["chosen"])]  # fmt: skip
    other = [helper.make_node("Mul", ["twice", "large"], ["scaled"]),
             helper.make_node("Div", ["scaled", "large"], ["chosen"])]  # fmt: skip
    large = numpy_helper.from_array(np.array(1e6, np.float32), "large")
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["twice"], name="first"),
        helper.make_node("If", ["c"], ["z"], name="if", then_branch=helper.make_graph(one, "then", [], [given]),
                         else_branch=helper.make_graph(other, "else", [], [given], [large])),
        helper.make_node("MatMul", ["z", "weight"], ["y"], name="last"),
    ]  # fmt: skip
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64]),
              helper.make_tensor_value_info("c", TensorProto.BOOL, [])]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], [weight]
    )
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)]), folder / "model.onnx"
    )
    facts, output = run_step(run, PrecisionParams(dtype="fp16", keep_io_types=keep_io_types), model=folder)
    assert facts["files"]["model.onnx"]["half"] == 2
    x = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    kind = np.float32 if keep_io_types else np.float16
    for condition in (True, False):
        wanted, found = (
            open_for_check(place / "model.onnx").run(None, {"x": x.astype(of), "c": np.array(condition)})[0]
            for place, of in ((folder, np.float32), (output, kind))
        )
        assert found.dtype == kind
        np.testing.assert_allclose(found, wanted, rtol=2e-2, atol=0.3)


@pytest.mark.parametrize("keep_io_types", [True, False])
@pytest.mark.parametrize("prefix", ["", "cast_", "x_input_cast"])
def test_casts_of_the_graph_itself_stay_whatever_they_are_called(prefix, keep_io_types):
    """A model that rounds on purpose, between two nodes that stay in fp32: the casts must not be taken for ours."""
    folder = scratch()
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((64, 64)).astype(np.float32), name) for name in ("a", "b")]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name="first"),
        helper.make_node("Cast", ["h"], ["rounded"], name=f"{prefix}down", to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["rounded"], ["back"], name=f"{prefix}up", to=TensorProto.FLOAT),
        helper.make_node("Softmax", ["back"], ["soft"], name="soft"),
        helper.make_node("MatMul", ["soft", "b"], ["y"], name="last"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 64]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, folder / "model.onnx")
    params = PrecisionParams(dtype="fp16", keep_fp32=("first", "soft"), keep_io_types=keep_io_types)
    _, output = run_step(run, params, model=folder)
    made = {value: node for node in onnx.load(output / "model.onnx").graph.node for value in node.output}
    soft = next(node for node in made.values() if node.name == "soft")
    path = [soft]  # from `soft` up to the product that comes first
    while path[-1].name != "first":
        path.append(made[path[-1].input[0]])
    kinds = [next((a.i for a in node.attribute if a.name == "to"), None) for node in path if node.op_type == "Cast"]
    assert kinds[0] == TensorProto.FLOAT  # `soft` still computes in fp32,
    assert f"{prefix}down" in [node.name for node in path]  # of values that the model's own cast has rounded
    assert TensorProto.FLOAT16 in kinds
    before, after = (
        open_for_check(place / "model.onnx").run(None, {"x": np.full((2, 64), 0.1).astype(of)})[0].astype(np.float32)
        for place, of in ((folder, np.float32), (output, np.float32 if keep_io_types else np.float16))
    )
    np.testing.assert_allclose(after, before, atol=5e-3)
