"""Layers that read a text token by token: as a loop of the graph, they are what PyTorch computes in chunks."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from families import text_folder
from toolchain5 import Workers, environment

from onnxbuild.protocol import Failure
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.fetch import FetchParams
from onnxbuild.steps.validate import ValidateParams

pytestmark = pytest.mark.heavy

SIZES = {"hidden_size": 48, "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 80,
         "vocab_size": 1, "num_hidden_layers": 2, "max_position_embeddings": 230}  # fmt: skip
HYBRID = {
    # Mamba 2 in chunks of 16; the past of its other layer has keys and values.
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 4, "mamba_d_head": 24, "mamba_chunk_size": 16,
              "mamba_d_state": 16},
    # Mamba, whose function is not handed the state that it begins with.
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "mamba_dt_rank": 5, "num_experts": 4},
    # A convolution alone.
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    # The gated delta rule in chunks of 64.
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"], "head_dim": 24, "linear_key_head_dim": 8,
                     "linear_value_head_dim": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 4},
}  # fmt: skip


def measured(name):
    """What a script of this folder prints in the toolchain of transformers 5."""
    python = environment().interpreter(lambda _text: None, lambda *_command: (1, ""))
    script = Path(__file__).with_name(name)
    environ = {**os.environ, "PYTHONPATH": str(script.parents[2]), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([python, str(script)], capture_output=True, text=True, check=True, env=environ)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_part_that_is_restated_for_tracing_computes_what_transformers_computes():
    found = measured("restated5.py")
    assert len(found) == 9
    assert all(parts > 0 for _, parts in found.values()), found
    assert max(worst for worst, _ in found.values()) < 2e-5, found


def test_an_encoder_of_audio_is_traced_with_a_mask_where_its_feature_extractor_makes_one():
    found = measured("masked_audio5.py")
    files = ("encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx")
    assert found == {"True": dict.fromkeys(files, 0.25), "False": dict.fromkeys(files)}


def test_a_loop_computes_what_transformers_computes():
    differences = measured("recurrences5.py")
    assert len(differences) == 4
    assert max(differences.values()) < 2e-5, differences


@pytest.mark.parametrize("name", sorted(HYBRID))
def test_a_hybrid_decoder_is_right_beyond_a_chunk_and_from_step_to_step(name, tmp_path):
    task, workers = "text-generation-with-past", Workers(tmp_path)
    config = {**SIZES, **HYBRID[name]}
    asked = FetchParams(origin="random", architecture=name, task=task, config=config, tokenizer_vocabulary=600)
    _, made = workers.run("onnxbuild.workers.fetch.worker:run", asked, "model", text=text_folder())
    params = ExportParams(task=task, exporter="transformers")
    facts, model = workers.run("onnxbuild.workers.export.worker:run", params, "model", model=made)
    assert not isinstance(facts, Failure), facts
    bounds = ValidateParams(task=task, thresholds={"max_abs": 1e-4}, shapes=((1, 8), (2, 150)))
    proven, _ = workers.run("onnxbuild.workers.validate.worker:run", bounds, "report", model=model, reference=made)
    workers.close()
    assert not isinstance(proven, Failure), proven
    assert proven["passed"]
    assert {"prefill", "decode"} <= set(proven["stages"])
