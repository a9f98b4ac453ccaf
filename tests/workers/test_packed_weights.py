"""GPTQ and AWQ: unpacked to the values that they stand for, and put into the graph with the codes as they are."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from families import run_step
from onnx import numpy_helper
from packed_checkpoints import packed
from safetensors.numpy import load_file, save_file

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.prepare import PrepareParams
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.export.worker import run as export
from onnxbuild.workers.prepare import checkpoint_weights
from onnxbuild.workers.prepare.worker import run as prepare
from onnxbuild.workers.quantize.worker import run as quantize

pytestmark = pytest.mark.heavy
STORED = QuantizeParams(method="stored", accuracy_level=0)


def unpacked(method, folder):
    return run_step(prepare, PrepareParams(unpack=method), model=folder)


def failure(method, folder):
    with pytest.raises(CheckFailed) as raised:
        unpacked(method, folder)
    return str(raised.value)


FORMATS = {
    "gptq": ("gptq", {"desc_act": False, "sym": True}),
    "gptq v2": ("gptq", {"checkpoint_format": "gptq_v2"}),
    "gptq out of order": ("gptq", {"desc_act": True, "shuffled": True}),
    "gptq in shards": ("gptq", {"shards": 3}),
    "awq": ("awq", {"version": "gemm", "zero_point": True}),
    "awq, one group": ("awq", {"group": -1}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_unpacked_weights_are_the_values_of_their_codes_exactly(name):
    method, more = FORMATS[name]
    folder, expected, layers = packed(method, **more)
    facts, output = unpacked(method, folder)
    found, wanted = load_file(output / "model.safetensors"), load_file(expected / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert [key for key in wanted if not np.array_equal(found[key], wanted[key])] == []
    out_of_order = len(layers) if more.get("shuffled") else 0
    assert (facts["unpacked"], facts["reordered"]) == (len(layers), out_of_order) == (14, out_of_order)
    config = json.loads((output / "config.json").read_text())
    assert ("quantization_config" in config, config["dtype"]) == (False, "float32")


def test_large_checkpoints_are_written_in_shards(monkeypatch):
    monkeypatch.setattr(checkpoint_weights, "_MOST_BYTES", 100_000)
    folder, expected, _ = packed("awq")
    _, output = unpacked("awq", folder)
    from transformers import LlamaForCausalLM

    assert len(list(output.glob("model-*-of-*.safetensors"))) > 2
    one, other = (LlamaForCausalLM.from_pretrained(place).state_dict() for place in (output, expected))
    assert all(bool((one[name] == other[name]).all()) for name in other)


def test_parts_that_do_not_fit_each_other():
    folder, _, _ = packed("gptq")
    assert "OBE96 the quantized weight `model.layers.0.mlp.down_proj` has parts that do not fit" in failure(
        "awq", folder
    )
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.self_attn.q_proj.scales"]
    save_file(weights, folder / "model.safetensors")
    assert failure("gptq", folder) == "OBE96 the quantized weight `model.layers.1.self_attn.q_proj` has no `scales`"
    save_file({"a": np.zeros(3)}, folder / "model.safetensors")
    assert failure("gptq", folder) == "OBE96 config.json says GPTQ, and the checkpoint has no packed weights"


def codes_of(node, weights):
    """The codes [K, N], zero points and scales [blocks, N] of a MatMulNBits, unpacked one byte at a time."""
    inputs = next(a.i for a in node.attribute if a.name == "K")
    stored, scales, zeros = (numpy_helper.to_array(weights[name]) for name in node.input[1:4])
    outputs = stored.shape[0]
    codes = np.stack([stored & 15, stored >> 4], axis=-1).reshape(outputs, -1)[:, :inputs]
    zeros = zeros.reshape(outputs, -1)
    zeros = np.stack([zeros & 15, zeros >> 4], axis=-1).reshape(outputs, -1)[:, : scales.size // outputs]
    return codes.T, zeros.T, scales.reshape(outputs, -1).T


def torch_logits(folder, ids):
    import torch
    from transformers import LlamaForCausalLM

    with torch.no_grad():
        return (
            LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(torch.from_numpy(ids)).logits.numpy()
        )


@pytest.mark.parametrize(
    ("method", "more", "block"),
    [("gptq", {}, 32), ("awq", {}, 32), ("gptq", {"group": 16}, 16), ("awq", {"group": -1}, 32)],
)
def test_the_codes_are_in_the_graph_as_they_were_stored_and_it_computes_the_same(method, more, block):
    folder, expected, layers = packed(method, **more)
    _, checkpoint = unpacked(method, folder)
    _, exported = run_step(export, ExportParams(task="text-generation"), model=checkpoint)
    facts, output = run_step(quantize, STORED, model=exported, checkpoint=checkpoint)
    assert facts["quantized"] == len(layers)
    assert facts["files"]["model.onnx"]["absent"] == []
    model = onnx.load(output / "model.onnx")
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "MatMulNBits"]
    assert {next(a.i for a in node.attribute if a.name == "block_size") for node in nodes} == {block}
    wanted = [(one.codes, one.scales.astype(np.float32)) for one in layers.values()]
    for node in nodes:
        codes, zeros, scales = codes_of(node, weights)
        match = [one for one, first in wanted if one.shape == codes.shape and (one == codes).all()]
        assert len(match) == 1
        spread = np.arange(len(codes)) // block
        layer = next(one for one in layers.values() if one.codes is match[0])
        assert (zeros[spread] == layer.zeros[layer.groups]).all()
        assert (scales[spread] == layer.scales[layer.groups].astype(np.float32)).all()
    ids = np.random.default_rng(2).integers(1, 211, (3, 11))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids),
             "position_ids": np.broadcast_to(np.arange(11), ids.shape)}  # fmt: skip
    session = onnxruntime.InferenceSession(output / "model.onnx")
    answer = session.run(["logits"], {one.name: feeds[one.name] for one in session.get_inputs()})[0]
    reference = torch_logits(expected, ids)
    assert np.abs(answer - reference).max() < 1e-5 * np.abs(reference).max()


def test_codes_that_no_graph_has():
    folder, _, _ = packed("gptq", desc_act=True, shuffled=True)
    _, checkpoint = unpacked("gptq", folder)
    _, exported = run_step(export, ExportParams(task="text-generation"), model=checkpoint)
    with pytest.raises(CheckFailed, match=r"OBE96 the groups of all weights are out of order"):
        run_step(quantize, STORED, model=exported, checkpoint=checkpoint)
    with pytest.raises(CheckFailed, match=r"OBE96 the checkpoint has no codes"):
        run_step(quantize, STORED, model=exported, checkpoint=folder)
    _, other = unpacked("awq", packed("awq")[0])
    _, exported = run_step(export, ExportParams(task="text-generation"), model=checkpoint)
    with pytest.raises(CheckFailed, match=r"OBE96 the graph has none of the weights"):
        run_step(quantize, STORED, model=exported, checkpoint=other)


def test_an_adapter_of_a_packed_model_is_merged_into_its_values():
    peft = pytest.importorskip("peft")
    import torch
    from families import scratch
    from transformers import LlamaForCausalLM

    folder, expected, _ = packed("gptq")
    torch.manual_seed(1)
    lora = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["k_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(LlamaForCausalLM.from_pretrained(expected, dtype=torch.float32), lora).eval()
    wrapped.save_pretrained(adapter := scratch() / "adapter")
    ids = np.random.default_rng(2).integers(1, 211, (2, 7))
    with torch.no_grad():
        reference = wrapped(torch.from_numpy(ids)).logits.numpy()
    facts, output = run_step(prepare, PrepareParams(unpack="gptq", adapter=True), model=folder, adapter=adapter)
    assert (facts["unpacked"], facts["merged"]) == (14, "LORA")
    assert np.abs(torch_logits(output, ids) - reference).max() < 2e-5
    assert np.abs(torch_logits(expected, ids) - reference).max() > 1e-3
    assert not (output / "stored_codes.safetensors").exists()
