from __future__ import annotations

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
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.quantize.worker import run

pytestmark = pytest.mark.heavy

INT8 = QuantizeParams(method="dynamic", preset="avx512_vnni")
Q4 = QuantizeParams(method="weight-only")


def cosine(left, right):
    left, right = left.ravel(), right.ravel()
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))


@pytest.mark.parametrize("params", [INT8, Q4, QuantizeParams(method="weight-only", bits=8)])
@pytest.mark.parametrize("architecture", ["bert", "distilbert", "gpt2", "llama", "vit", "wav2vec2"])
def test_every_family_shrinks_and_stays_near(architecture, params):
    source = exported(architecture)[1]
    facts, folder = run_step(run, params, model=source)
    file = facts["files"]["model.onnx"]
    assert file["bytes"] < file["bytes_before"]
    assert facts["quantized"] == sum(file["quantized"].values()) >= 10 - (architecture == "gpt2")
    assert set(contents(folder)) == set(contents(source))
    import json

    config = json.loads((source / "config.json").read_text())
    before, after = (outputs_of(path / "model.onnx", config)[0] for path in (source, folder))
    assert cosine(before, after) > (0.9 if params is Q4 else 0.98)
    assert not np.array_equal(before, after)


@pytest.mark.parametrize("preset", ["arm64", "avx2", "avx512", "avx512_vnni"])
def test_a_preset_says_which_integers(preset):
    _, folder = run_step(run, QuantizeParams(method="dynamic", preset=preset), model=exported("bert")[1])
    model = onnx.load(folder / "model.onnx")
    weights = {node.input[1] for node in model.graph.node if node.op_type == "MatMulInteger"}
    types = {tensor.data_type for tensor in model.graph.initializer if tensor.name in weights}
    assert types == {TensorProto.UINT8 if preset == "avx2" else TensorProto.INT8}


def test_per_channel_has_a_scale_for_each_column():
    shapes = {}
    for per_channel in (True, False):
        params = QuantizeParams(method="dynamic", preset="avx512_vnni", per_channel=per_channel)
        _, folder = run_step(run, params, model=exported("distilbert")[1])
        weights = onnx.load(folder / "model.onnx").graph.initializer
        shapes[per_channel] = max(tuple(t.dims) for t in weights if t.name.endswith("_scale"))
    assert shapes == {True: (64,), False: ()}


def test_the_layers_of_gpt2_are_quantized_and_its_head():
    facts, _ = run_step(run, INT8, model=exported("gpt2")[1])
    file = facts["files"]["model.onnx"]
    assert file["gemms_rewritten"] == 8
    assert file["heads_untied"] == 1
    assert file["quantized"] == {"Gather": 2, "MatMulInteger": 9}
    assert {reason: len(names) for reason, names in file["left_in_float"].items()} == {
        "no stored weight: its inputs are computed": 4
    }


@pytest.mark.parametrize("params", [INT8, Q4])
@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_an_optimized_graph_is_quantized_too(architecture, params):
    facts, folder = run_step(run, params, model=optimized(architecture)[1])
    assert facts["bytes"] < facts["bytes_before"]
    assert facts["quantized"] >= 8
    before, after = (outputs_of(path / "model.onnx")[0] for path in (exported(architecture)[1], folder))
    assert cosine(before, after) > 0.9


@pytest.mark.parametrize("params", [INT8, QuantizeParams(method="weight-only", bits=8)])
def test_an_encoder_decoder_in_all_its_files(params):
    facts, folder = run_step(run, params, model=exported("t5")[1])
    assert facts["files"]["decoder_model_merged.onnx"]["merged"] is True
    parts = [file for file in facts["files"].values() if "quantized" in file]
    assert len(parts) == 3
    assert all(sum(part["quantized"].values()) >= 12 for part in parts)
    merged = generated_by(folder, "t5")
    (folder / "decoder_model_merged.onnx").unlink()
    assert generated_by(folder, "t5") == merged
    assert len(merged[0]) == len(generated_by_torch(checkpoint("t5"), "t5")[0])


def test_whisper_in_all_its_files():
    facts, _ = run_step(run, INT8, model=exported("whisper")[1])
    assert facts["files"]["encoder_model.onnx"]["quantized"] == {"ConvInteger": 2, "MatMulInteger": 12}
    assert facts["files"]["decoder_model_merged.onnx"]["merged"] is True


def test_weights_are_packed_as_asked_for():
    params = QuantizeParams(method="weight-only", bits=4, block_size=16, symmetric=True, accuracy_level=1)
    _, folder = run_step(run, params, model=exported("bert")[1])
    node = next(n for n in onnx.load(folder / "model.onnx").graph.node if n.op_type == "MatMulNBits")
    attributes = {a.name: a.i for a in node.attribute}
    assert {"bits": 4, "block_size": 16, "accuracy_level": 1, "K": 32, "N": 32}.items() <= attributes.items()
    assert len(node.input) == 3  # symmetric: no zero points


def test_hqq_is_another_algorithm():
    params = QuantizeParams(method="weight-only", algorithm="hqq")
    facts, folder = run_step(run, params, model=exported("bert")[1])
    assert facts["files"]["model.onnx"]["quantized"]["MatMulNBits"] == 14
    rounded = run_step(run, Q4, model=exported("bert")[1])[1]
    assert contents(folder)["model.onnx"] != contents(rounded)["model.onnx"]


@pytest.mark.parametrize("params", [INT8, Q4])
def test_two_runs_give_the_same_bytes(params):
    first, second = (run_step(run, params, model=exported("gpt2")[1])[1] for _ in range(2))
    assert contents(first) == contents(second)


@pytest.mark.parametrize("params", [INT8, Q4])
def test_excluded_nodes_stay_in_float(params):
    name = next(n.name for n in onnx.load(exported("bert")[1] / "model.onnx").graph.node if n.op_type == "Gemm")
    import msgspec

    all_in, without = (
        run_step(run, changed, model=exported("bert")[1])[0]
        for changed in (params, msgspec.structs.replace(params, exclude=(name,)))
    )
    assert without["quantized"] == all_in["quantized"] - 1
    assert without["files"]["model.onnx"]["left_in_float"]["excluded"] == [name]


def test_an_excluded_name_with_a_typo():
    name = next(n.name for n in onnx.load(exported("bert")[1] / "model.onnx").graph.node if n.op_type == "Gemm")
    params = QuantizeParams(method="weight-only", exclude=(f"{name}x",))
    with pytest.raises(CheckFailed) as caught:
        run_step(run, params, model=exported("bert")[1])
    assert str(caught.value) == f"OBE50 `exclude` names `{name}x`, and no node has this name"
    assert caught.value.failure.notes == (("hint", f"did you mean `{name}`?"),)


def test_nothing_quantized_is_a_failure():
    params = QuantizeParams(method="dynamic", preset="avx2", operators=("LSTM",))
    with pytest.raises(CheckFailed) as caught:
        run_step(run, params, model=exported("vit")[1])
    failure = caught.value.failure
    assert (failure.code, failure.message) == ("OBE48", "nothing was quantized in model.onnx")
    assert failure.notes == (
        (
            "found",
            (
                "Conv with a stored weight, which this method does not quantize; MatMul with a stored weight, which "
                "this method does not quantize; no stored weight: its inputs are computed"
            ),
        ),
        ("hint", "name them in `operators: [Conv, MatMul]`"),
    )


def test_a_model_that_grows_is_a_failure():
    folder = scratch()
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="m")], "g", [x], [y], [weight])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(CheckFailed) as caught:
        run_step(run, INT8, model=folder)
    failure = caught.value.failure
    assert failure.code == "OBE49"
    before = (folder / "model.onnx").stat().st_size
    assert failure.message == f"the quantized model has {failure.facts['bytes']} bytes, the original {before}"
    assert failure.notes == (
        ("found", "1 quantized operators; no other operator has a float weight"),
        (
            "hint",
            (
                "scales and casts take more than small weights save: write `per_channel: false`, or leave `quantize:` "
                "out for this model"
            ),
        ),
    )


def test_external_data_stays_external():
    from onnxbuild.workers.graphs.graph_files import load_model, save_model

    folder = scratch()
    save_model(load_model(exported("bert")[1] / "model.onnx"), folder / "model.onnx", external=True)
    facts, output = run_step(run, Q4, model=folder)
    assert set(contents(output)) == {"model.onnx", "model.onnx_data"}
    assert facts["bytes"] < facts["bytes_before"]


def test_a_quantized_model_is_not_quantized_again():
    _, folder = run_step(run, INT8, model=exported("bert")[1])
    with pytest.raises(CheckFailed) as caught:
        run_step(run, Q4, model=folder)
    assert str(caught.value) == "OBE48 nothing was quantized in model.onnx"
