"""A checkpoint without some of its weights: refused where an output depends on them, whatever validation would say."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from families import FAMILIES, checkpoint, minilm_files, run_step, scratch
from safetensors.torch import load_file, save_file
from toolchain5 import Workers

from onnxbuild.protocol import CheckFailed, Failure
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.fetch import FetchParams
from onnxbuild.workers.export.worker import run

pytestmark = pytest.mark.heavy

NORM = ("bert.encoder.layer.1.output.LayerNorm.bias", "bert.encoder.layer.1.output.LayerNorm.weight")


def changed(folder, *, without=(), added=(), **config):
    """A copy of a checkpoint without the weights whose names contain a text, and with more weights and entries."""
    copy = scratch() / "checkpoint"
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not any(text in name for text in without)}
    assert bool(without) == (len(kept) < len(weights))
    first = next(iter(kept.values()))
    save_file({**kept, **{name: first.clone() for name in added}}, copy / "model.safetensors", {"format": "pt"})
    path = copy / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return copy


def export(family, *, task=None, without=(), added=(), config=None, **params):
    folder = changed(checkpoint(family), without=without, added=added, **(config or {}))
    return run_step(run, ExportParams(task=task or FAMILIES[family][0], **params), model=folder)[0]


def failure(family, **changes):
    with pytest.raises(CheckFailed) as raised:
        export(family, **changes)
    return raised.value.failure


def listed(found):
    return dict(found.notes)["missing"].replace("`", "").split(", ")


def test_a_missing_norm_is_named():
    found = failure("bert", without=["layer.1.output.LayerNorm"])
    assert found.code == "OBE83"
    assert found.message == (f"the checkpoint lacks `{NORM[0]}`, `{NORM[1]}`, and PyTorch filled in other values")
    assert listed(found) == list(NORM)


def test_a_missing_bias_of_a_checkpoint_in_several_files_is_named():
    """Its shards and their index agree, so that only the model knows that a weight is missing."""
    folder = changed(checkpoint("bert"), without=[NORM[0]], added=["extra.weight"])
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"model-0000{number % 3 + 1}-of-00003.safetensors" for number, name in enumerate(sorted(weights))}
    for file in set(files.values()):
        part = {name: value for name, value in weights.items() if files[name] == file}
        save_file(part, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    with pytest.raises(CheckFailed) as raised:
        run_step(run, ExportParams(task=FAMILIES["bert"][0]), model=folder)
    assert raised.value.failure.code == "OBE83"
    assert listed(raised.value.failure) == [NORM[0]]


def test_a_missing_norm_of_a_decoder_and_of_an_encoder_decoder_is_named():
    assert listed(failure("llama", without=["model.norm."])) == ["model.norm.weight"]
    assert listed(failure("t5", without=["decoder.final_layer_norm"])) == ["decoder.final_layer_norm.weight"]


def test_a_head_that_was_never_trained_is_named_with_what_to_do():
    found = failure("bert", task="token-classification", without=["classifier"])
    assert listed(found) == ["classifier.bias", "classifier.weight"]
    assert "`task:`" in dict(found.notes)["hint"]


def test_what_a_manifest_allows_may_be_missing():
    facts = export("bert", without=["layer.1.output.LayerNorm"], allow_missing=("*.1.output.LayerNorm.*",))
    assert facts["missing_weights"] == {"allowed": list(NORM), "without_effect": []}
    assert "warnings" not in facts
    found = failure("bert", without=["layer.1.output.LayerNorm"], allow_missing=("*.LayerNorm.weight",))
    assert listed(found) == [NORM[0]]


def test_a_pattern_without_use_is_a_warning():
    assert export("vit", allow_missing=("vit.none",))["warnings"] == [
        "the checkpoint lacks no weight that `vit.none` of `allow_missing` matches"
    ]


def test_a_pooler_matters_where_its_output_is_read():
    facts = export("bert", task="feature-extraction", without=["pooler", "classifier"])
    assert facts["missing_weights"] == {"allowed": [], "without_effect": ["pooler.dense.bias", "pooler.dense.weight"]}
    needed = failure("bert", without=["pooler"])
    assert listed(needed) == ["bert.pooler.dense.bias", "bert.pooler.dense.weight"]


def test_of_several_missing_weights_those_that_matter_are_named():
    found = failure("bert", task="feature-extraction", without=["pooler", "layer.0.output.dense.bias"])
    assert listed(found) == ["encoder.layer.0.output.dense.bias"]


def test_a_tied_weight_may_be_missing_and_an_untied_one_not():
    assert "missing_weights" not in export("gpt2")
    found = failure("gpt2", config={"tie_word_embeddings": False})
    assert listed(found) == ["lm_head.weight"]


def test_keys_that_the_model_does_not_know_are_a_warning():
    names = [f"extra.{number}" for number in range(5)]
    assert export("bert", added=names)["warnings"] == [
        "the checkpoint has 5 weights that the exported model does not have: `extra.0`, `extra.1`, `extra.2` and 2 more"
    ]


def _ticked(layer):
    return f"`{layer}.bias`, `{layer}.weight`, `bert.encoder.layer.0.output.dense.weight`"


def test_a_weight_of_another_size_is_a_failure_with_its_name():
    from onnxbuild.workers.failures.exceptions import explain_exception

    with pytest.raises(Exception) as raised:  # noqa: PT011 - each generation raises another one
        export("bert", config={"intermediate_size": 60})
    found = explain_exception(raised.value, "")
    assert found.code == "OBE16"
    assert found.message == "the shapes of the weights differ from config.json"
    layer = "bert.encoder.layer.0.intermediate.dense"
    assert ("context", f"weights of another size than config.json implies: {_ticked(layer)} and 3 more") in found.notes


def test_positions_by_formula_are_not_missing(tmp_path):
    from transformers import MarianConfig, MarianMTModel

    sizes = {f"{side}_{what}": 1 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    widths = {"encoder_ffn_dim": 36, "decoder_ffn_dim": 44, "d_model": 24, "vocab_size": 53, "pad_token_id": 52}
    model = MarianMTModel(MarianConfig(**sizes, **widths, max_position_embeddings=37, decoder_start_token_id=52))
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "embed_positions" not in name and "logits" not in name}
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    facts, _ = run_step(run, ExportParams(task="text2text-generation-with-past"), model=tmp_path)
    assert "missing_weights" not in facts


def test_an_expert_that_no_token_chooses_is_not_without_effect():
    import torch

    from onnxbuild.workers.engines.loading import Loaded
    from onnxbuild.workers.export.missing_weights import _Trial

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(3))
            self.unread = torch.nn.Linear(3, 3)

        def forward(self, x):
            self.unread(x)
            return self.experts[1](x)

    model = Model()

    class Reference:
        loads = (Loaded(missing=(), unknown=(), model=model),)

        def run(self, stage, feeds):
            with torch.no_grad():
                return {"y": model(torch.from_numpy(feeds["x"])).numpy()}

    class Variant:
        stages = ("forward",)

        def outputs(self, stage):
            return ("y",)

    class Sample:
        def __init__(self):
            self.feeds = {"x": np.ones((2, 3), np.float32)}

    trial = _Trial(Reference(), Variant(), [Sample()])
    assert trial.needed(["unread.bias"]) == []
    assert trial.needed(["experts.0.bias", "unread.bias"]) == ["experts.0.bias"]
    assert trial.needed(["experts.1.bias", "experts.2.weight", "unread.bias"]) == ["experts.1.bias", "experts.2.weight"]


def test_the_encoder_of_a_sentence_transformer_is_checked_too():
    folder = changed(minilm_files(), without=["layer.3.output.LayerNorm"])
    with pytest.raises(CheckFailed) as raised:
        run_step(run, ExportParams(task="sentence-similarity"), model=folder)
    assert listed(raised.value.failure) == [f"encoder.layer.3.output.LayerNorm.{one}" for one in ("bias", "weight")]


OWN = """
def export(checkpoint, output, opset, task):
    from optimum.exporters.onnx import main_export
    main_export(str(checkpoint), output, task=task, opset=opset, do_validation=False)
"""


def test_the_loads_of_a_custom_exporter_are_watched(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    folder = changed(checkpoint("vit"), without=["vit.layernorm"])
    params = ExportParams(task=FAMILIES["vit"][0], exporter="mine.py:export")
    with pytest.raises(CheckFailed) as raised:
        run_step(run, params, model=folder, exporter=tmp_path)
    assert listed(raised.value.failure) == ["vit.layernorm.bias", "vit.layernorm.weight"]


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    found = Workers(tmp_path_factory.mktemp("tf5"))
    yield found
    found.close()


def test_transformers_5_names_a_missing_norm_too(workers):
    task, config, vocabulary = FAMILIES["vit"]
    made = FetchParams(origin="random", architecture="vit", task=task, config=config, tokenizer_vocabulary=vocabulary)
    _, folder = workers.run("onnxbuild.workers.fetch.worker:run", made, "model")
    params = ExportParams(task=task, exporter="transformers")
    whole, _ = workers.run("onnxbuild.workers.export.worker:run", params, "model", model=folder)
    assert not isinstance(whole, Failure), whole
    assert "missing_weights" not in whole
    wide, _ = workers.run(
        "onnxbuild.workers.export.worker:run", params, "model", model=changed(folder, intermediate_size=60)
    )
    assert wide.code == "OBE16"
    assert any("weights of another size than config.json implies: `" in text for _, text in wide.notes)
    less = changed(folder, without=["vit.layernorm"], added=["extra.weight"])
    found, _ = workers.run("onnxbuild.workers.export.worker:run", params, "model", model=less)
    assert found.code == "OBE83"
    assert listed(found) == ["vit.layernorm.bias", "vit.layernorm.weight"]
