import numpy as np
import pytest
from families import FAMILIES, checkpoint, exported, generated_by, generated_by_torch, optimized, run_step, scratch

from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.optimize import OptimizeParams
from onnxbuild.workers.engines.smoke_run import open_for_check
from onnxbuild.workers.export.worker import run as export
from onnxbuild.workers.graphs.graph_files import load_model, save_model
from onnxbuild.workers.graphs.walk import count_operators
from onnxbuild.workers.optimize.attention import fuse_attention_with_past
from onnxbuild.workers.optimize.fused import warnings_of
from onnxbuild.workers.optimize.worker import run

pytestmark = pytest.mark.heavy


def feeds(session, past, tokens, padding):
    random = np.random.default_rng(0)
    mask = np.ones((2, past + tokens), np.int64)
    mask[0, :padding] = 0
    given = {
        "input_ids": random.integers(5, 250, (2, tokens)),
        "attention_mask": mask,
        "position_ids": np.maximum(mask.cumsum(axis=1) - 1, 0)[:, -tokens:],
    }
    for value in session.get_inputs():
        if value.name.startswith("past"):
            given[value.name] = random.standard_normal((2, 2, past, 16)).astype(np.float32)
    return {value.name: given[value.name] for value in session.get_inputs()}


@pytest.mark.parametrize(("past", "tokens", "padding"), [(0, 8, 0), (0, 8, 3), (5, 1, 0), (5, 1, 2), (5, 3, 2)])
def test_gpt2_with_one_operator_for_attention_gives_the_same(past, tokens, padding):
    plain, fused = (open_for_check(folder / "model.onnx") for folder in (exported("gpt2")[1], optimized("gpt2")[1]))
    given = feeds(plain, past, tokens, padding)
    for name, wanted, found in zip(
        [value.name for value in plain.get_outputs()], plain.run(None, given), fused.run(None, given), strict=True
    ):
        real = slice(max(0, padding - past), None)  # nothing reads the values at padding
        first = wanted[0][real] if name == "logits" else wanted[0][:, padding:]
        same = found[0][real] if name == "logits" else found[0][:, padding:]
        np.testing.assert_allclose(same, first, atol=1e-5)
        np.testing.assert_allclose(found[1], wanted[1], atol=1e-5)
        assert np.isfinite(found).all()


def test_every_attention_of_gpt2_is_fused_and_nothing_is_left_to_warn_of():
    facts, folder = optimized("gpt2")
    assert facts["files"]["model.onnx"]["fused"]["MultiHeadAttention"] == 2
    assert facts["warnings"] == []
    assert "Softmax" not in count_operators(load_model(folder / "model.onnx"))
    assert generated_by(folder, "gpt2") == generated_by_torch(checkpoint("gpt2"), "gpt2")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("opset", [14, 20, 23])
def test_other_opsets_and_attention_spelled_out_are_fused_too(opset, attention):
    params = ExportParams(task=FAMILIES["gpt2"][0], exporter="optimum", opset=opset, attention=attention)
    _, model = run_step(export, params, model=checkpoint("gpt2"))
    facts, _ = run_step(run, OptimizeParams(level="O2"), model=model)
    assert facts["files"]["model.onnx"]["fused"]["MultiHeadAttention"] == 2
    assert facts["warnings"] == []


def test_heads_of_another_size_are_left_alone():
    model = load_model(exported("gpt2")[1] / "model.onnx")
    before = count_operators(model)
    assert fuse_attention_with_past(model, heads=4, hidden=32) == 0
    assert count_operators(model) == before


def test_a_scale_by_layer_is_left_alone_and_said():
    import json
    import shutil

    folder = scratch()
    shutil.copytree(exported("gpt2")[1], folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, "scale_attn_by_inverse_layer_idx": True}))
    facts, _ = run_step(run, OptimizeParams(level="O2"), model=folder)
    assert "MultiHeadAttention" not in facts["files"]["model.onnx"]["fused"]
    assert facts["warnings"] == [
        (
            "attention did not fuse in model.onnx: none of Attention, MultiHeadAttention, GroupQueryAttention, "
            "DecoderMaskedMultiHeadAttention, which gpt2 has after O2"
        )
    ]


@pytest.mark.parametrize("architecture", ["bert", "distilbert", "gpt2"])
def test_families_said_to_fuse_attention_do(architecture):
    assert optimized(architecture)[0]["warnings"] == []


def test_what_is_missing_is_reported_by_file():
    found = {"encoder.onnx": {"Attention": 2}, "decoder.onnx": {"SkipLayerNormalization": 2}}
    assert warnings_of("bert", "O2", found) == [
        (
            "LayerNorm did not fuse in encoder.onnx: none of SkipLayerNormalization, EmbedLayerNormalization, which "
            "bert has after O2"
        ),
        (
            "attention did not fuse in decoder.onnx: none of Attention, MultiHeadAttention, GroupQueryAttention, "
            "DecoderMaskedMultiHeadAttention, which bert has after O2"
        ),
    ]
    assert warnings_of("bert", "O1", found) == []
    assert warnings_of("a-new-type", "O2", found) == []


def test_weights_outside_stay_readable():
    folder = scratch()
    (folder / "config.json").write_text((exported("gpt2")[1] / "config.json").read_text())
    save_model(load_model(exported("gpt2")[1] / "model.onnx"), folder / "model.onnx", external=True)
    facts, output = run_step(run, OptimizeParams(level="O2"), model=folder)
    assert facts["files"]["model.onnx"]["fused"]["MultiHeadAttention"] == 2
    open_for_check(output / "model.onnx")
