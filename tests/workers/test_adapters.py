"""Adapters are merged into the weights: the merged model answers what peft's own, unmerged model answers."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

pytest.importorskip("peft")

from adapted_models import adapter, base, ids, logits
from families import run_step, scratch
from safetensors.torch import load_file, save_file

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.prepare import PrepareParams
from onnxbuild.workers.prepare.worker import run

pytestmark = pytest.mark.heavy
MERGE = PrepareParams(adapter=True)
WEIGHTS = "adapter_model.safetensors"


def merged(folder):
    facts, output = run_step(run, MERGE, model=base(), adapter=folder)
    return facts, output


def failure(folder):
    with pytest.raises(CheckFailed) as raised:
        merged(folder)
    return raised.value.failure


def changed(folder, *, without="\0", renamed=None, **config):
    copy = scratch() / "changed"
    shutil.copytree(folder, copy)
    weights = load_file(copy / WEIGHTS)
    kept = {name.replace(*(renamed or ("\0", ""))): value for name, value in weights.items() if without not in name}
    save_file(kept, copy / WEIGHTS, {"format": "pt"})
    path = copy / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return copy


def difference(one, other):
    assert one.shape == other.shape
    return float(np.abs(one - other).max())


def test_a_merged_lora_answers_as_peft_does():
    folder, expected = adapter()
    facts, output = merged(folder)
    assert (facts["merged"], facts["adapter_weights"]) == ("LORA", 2 * 3 * 3)
    assert difference(logits(output), expected) < 2e-5
    assert difference(logits(base()), expected) > 0.01
    assert not (output / WEIGHTS).exists()


@pytest.mark.parametrize("more", [{"use_dora": True}, {"use_rslora": True}, {"bias": "all"}])
def test_relatives_of_lora(more):
    folder, expected = adapter(**more)
    assert difference(logits(merged(folder)[1]), expected) < 5e-5


def test_a_classifier_brings_its_head_and_the_number_of_its_labels():
    folder, expected = adapter("SEQ_CLS")
    _, output = merged(folder)
    config = json.loads((output / "config.json").read_text())
    assert (config["architectures"], len(config["id2label"])) == (["LlamaForSequenceClassification"], 3)
    assert difference(logits(output, "AutoModelForSequenceClassification"), expected) < 2e-5


def test_weights_without_a_place_and_weights_that_are_missing():
    folder, _ = adapter()
    found = failure(changed(folder, renamed=("layers.2.", "layers.9.")))
    assert (found.code, "the model has no place for `base_model.model.model.layers.9." in found.message) == (
        "OBE93", True,
    )  # fmt: skip
    found = failure(changed(folder, without="layers.1.mlp"))
    assert found.code == "OBE93"
    assert found.message.endswith("it lacks `base_model.model.model.layers.1.mlp.down_proj.lora_A.weight`, "
                                  "`base_model.model.model.layers.1.mlp.down_proj.lora_B.weight`")  # fmt: skip


def test_an_adapter_of_another_size_and_of_another_kind():
    folder, _ = adapter()
    assert failure(changed(folder, r=5)).code == "OBE93"
    assert failure(changed(folder, target_modules=["attn"])).code == "OBE93"
    assert failure(changed(folder, peft_type="PREFIX_TUNING")).code == "OBE93"


def test_an_environment_without_peft(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CheckFailed) as raised:
        merged(adapter()[0])
    assert raised.value.failure.code == "OBE94"


def test_the_tokenizer_of_the_adapter_and_the_tokens_that_it_adds():
    folder, _ = adapter(modules_to_save=("embed_tokens", "lm_head"))
    weights = load_file(folder / WEIGHTS)
    more = {
        name: value[:1].repeat(9, 1) for name, value in weights.items() if "embed_tokens" in name or "lm_head" in name
    }
    assert len(more) == 2
    import torch

    copy = changed(folder)
    grown = {name: torch.cat([value, more[name]]) if name in more else value for name, value in weights.items()}
    save_file(grown, copy / WEIGHTS, {"format": "pt"})
    (copy / "tokenizer.json").write_text("of the adapter")
    _, output = merged(copy)
    assert logits(output).shape == (*ids().shape, 220)
    assert np.array_equal(logits(output)[..., 211], logits(output)[..., 212])
    assert (output / "tokenizer.json").read_text() == "of the adapter"
