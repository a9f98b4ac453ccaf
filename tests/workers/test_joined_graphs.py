"""A search over several graphs: they are joined to one, have one bound, and each file gets its part back."""

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pytest
from families import exported, run_step
from test_search import AUTO, three_layers

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.inputs.sample_source import open_source
from onnxbuild.workers.inputs.samples import single_texts
from onnxbuild.workers.inputs.sentences import SENTENCES
from onnxbuild.workers.inputs.stages import run_stages
from onnxbuild.workers.measuring import metrics
from onnxbuild.workers.quantize.search.joined import joined, split, twins
from onnxbuild.workers.quantize.search.mixed import parts_of
from onnxbuild.workers.quantize.worker import run

pytestmark = pytest.mark.heavy

FILES = ("encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx")


def graphs():
    source = exported("t5")[1]
    return {name: onnx.load(source / name) for name in sorted(FILES)}


def test_graphs_run_one_after_another_and_each_gets_its_part_back():
    models = graphs()
    one = joined(models)
    assert one.files == FILES
    onnx.checker.check_model(one.model)
    # The encoder's states come from the encoder, and the cache from the pass before it.
    assert one.links["decoder_model.onnx::encoder_hidden_states"] == "encoder_model.onnx::last_hidden_state"
    past = "decoder_with_past_model.onnx::past_key_values.1.encoder.value"
    assert one.links[past] == "decoder_model.onnx::present.1.encoder.value"
    assert {value.name for value in one.model.graph.input} == {
        "encoder_model.onnx::input_ids", "encoder_model.onnx::attention_mask", "decoder_model.onnx::input_ids",
        "decoder_model.onnx::encoder_attention_mask", "decoder_with_past_model.onnx::input_ids",
        "decoder_with_past_model.onnx::encoder_attention_mask",
    }  # fmt: skip
    for name, model in models.items():
        part = split(one.model, name, model)
        assert (part.graph.input, part.graph.output) == (model.graph.input, model.graph.output)
        assert part.graph.node == model.graph.node
        read = {each for node in model.graph.node for each in node.input}
        kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
        assert list(part.graph.initializer) == kept


def test_nodes_of_both_decoders_with_one_weight_are_one_part():
    one = joined(graphs())
    parts = twins(one.model, parts_of(one.model, AUTO))
    by_name = {part.name: part.twins for part in parts}
    query = "/decoder/block.1/layer.0/SelfAttention/q/MatMul"
    assert by_name[f"decoder_model.onnx::{query}"] == (f"decoder_with_past_model.onnx::{query}",)
    # Only the first pass computes keys of the encoder's states.
    assert by_name["decoder_model.onnx::/decoder/block.0/layer.1/EncDecAttention/k/MatMul"] == ()
    assert not any(name.startswith("decoder_with_past") for name in by_name)


def logits(folder):
    """The logits of the decoder and of the decoder with a past, which read what the folder's own graphs return."""
    model = OnnxModel(folder, threads=1)
    samples = single_texts(open_source(folder, model, "", seed=0, light=True), SENTENCES, 128)
    stages = ("encoder", "decoder", "decoder_step")
    passes = [
        found for sample in samples for stage, _, found in run_stages(model, sample, stages) if stage != "encoder"
    ]
    return np.concatenate([found["logits"].reshape(-1, found["logits"].shape[-1]) for found in passes])


def test_a_searched_encoder_decoder_keeps_its_bound_as_a_whole():
    source = exported("t5")[1]
    params = msgspec.structs.replace(AUTO, subject_to={"cosine_mean": ">= 0.9995"})
    facts, folder = run_step(run, params, model=source)
    files = facts["files"]
    assert {*FILES, "decoder_model_merged.onnx"} == files.keys()
    assert files["decoder_model_merged.onnx"]["merged"]
    chosen = files["encoder_model.onnx"]["search"]["chosen"]
    assert all(files[name]["search"]["chosen"] == chosen for name in FILES)
    assert chosen["holds"]
    assert chosen["cosine_mean"] >= 0.9995
    assert all(files[name]["quantized"]["MatMulInteger"] > 5 for name in FILES)
    back = {name: set(files[name]["search"]["taken_back"].get("fp32", ())) for name in FILES}
    assert back["decoder_with_past_model.onnx"] <= back["decoder_model.onnx"]
    for name in FILES:
        graph = onnx.load(folder / name).graph
        left = {node.name for node in graph.node if node.op_type == "MatMul"}
        assert back[name] <= {node.name for node in graph.node}
        assert all(".onnx::" not in text for node in graph.node for text in (node.name, *node.input, *node.output))
        assert left >= {one for one in back[name] if one.endswith("MatMul")}
    assert metrics.cosines(logits(source), logits(folder)).mean() > 0.9993


def test_graphs_that_are_no_chain_are_refused(tmp_path):
    for name in ("one.onnx", "two.onnx"):
        onnx.save(three_layers(), tmp_path / name)
    with pytest.raises(CheckFailed) as caught:
        run_step(run, AUTO, model=tmp_path)
    assert str(caught.value).startswith("OBE151 a search needs graphs that read what the one before returns, and this ")
