"""Checkpoints whose configs and tokenizers say something unusual: they export, and agree with PyTorch as they are."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

for module in ("torch", "optimum.exporters.onnx"):
    pytest.importorskip(module)

import small_models  # noqa: E402
from families import run_step, scratch, silent  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.export import ExportParams  # noqa: E402
from onnxbuild.steps.generate import GenerateParams  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.workers.engines.smoke_run import open_for_check  # noqa: E402
from onnxbuild.workers.engines.torch_engine import load_torch  # noqa: E402
from onnxbuild.workers.export.short_texts import short_texts  # noqa: E402
from onnxbuild.workers.export.worker import run as export  # noqa: E402
from onnxbuild.workers.folders.configs import named_outputs  # noqa: E402
from onnxbuild.workers.generate.worker import run as generate  # noqa: E402
from onnxbuild.workers.validate.worker import run as validate  # noqa: E402

pytestmark = pytest.mark.heavy

SIZES = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 64,
         "vocab_size": 500, "initializer_range": 0.3}  # fmt: skip
CAUSAL, WRITES, LABELS = "text-generation-with-past", "text2text-generation-with-past", "text-classification"


def _model(architecture, sizes):
    import torch
    import transformers

    torch.manual_seed(0)
    if architecture == "bert":
        return transformers.BertForSequenceClassification(transformers.BertConfig(**{**SIZES, **sizes}))
    if architecture == "gpt2":
        config = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=32, vocab_size=500, initializer_range=0.3, **sizes)
        return transformers.GPT2LMHeadModel(config)
    if architecture == "phi":
        return transformers.PhiForCausalLM(transformers.PhiConfig(**{**SIZES, **sizes}))
    config = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "vocab_size": 500}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**config, decoder_start_token_id=0))


def checkpoint_of(architecture, entries=None, sizes=None, pad=None):
    """A folder with a small model; `entries` are written into its config.json, `pad` is added to its tokenizer."""
    folder = scratch()
    _model(architecture, sizes or {}).save_pretrained(folder)
    small_models._tokenizer().save_pretrained(folder)
    if pad is not None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.add_special_tokens({"pad_token": pad})
        tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **(entries or {})}))
    return folder


def exported(checkpoint, task):
    return run_step(export, ExportParams(task=task, exporter="optimum"), model=checkpoint)[1]


def validated(checkpoint, onnx, task):
    return validate(ValidateParams(task=task), {"model": onnx, "reference": checkpoint}, {"report": scratch()}, silent)


@pytest.mark.parametrize("entry", [{"torchscript": True}, {"return_dict": False}], ids=lambda entry: next(iter(entry)))
@pytest.mark.parametrize(("architecture", "task"), [("bert", LABELS), ("gpt2", CAUSAL), ("t5", WRITES)])
def test_a_config_that_asks_for_tuples(architecture, task, entry):
    checkpoint = checkpoint_of(architecture, entry)
    onnx = exported(checkpoint, task)
    assert json.loads((checkpoint / "config.json").read_text()).items() >= entry.items()
    assert validated(checkpoint, onnx, task)["passed"]
    if architecture == "bert":
        import torch

        # With the library itself, and without the entry.
        ids = np.array([[5, 6, 7, 8]])
        plain = _model("bert", {}).eval()
        wanted = plain(input_ids=torch.from_numpy(ids), attention_mask=torch.ones(1, 4)).logits.detach().numpy()
        session = open_for_check(onnx / "model.onnx", optimize=True)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        np.testing.assert_allclose(session.run(None, feeds)[0], wanted, atol=1e-5)
        return
    params = GenerateParams(task=task, prompts=("Once upon a time",), max_new_tokens=6, rounds=1)
    facts = generate(params, {"model": onnx, "reference": checkpoint}, {"samples": scratch()}, silent)
    assert facts["agreement"]["tokens"] == facts["agreement"]["of"]


def test_entries_for_tuples_are_found_at_every_depth():
    config = {
        "torchscript": True,
        "vocab_size": 5,
        "text_config": {"return_dict": False, "n": [1]},
        "return_dict": True,
    }
    assert named_outputs(config) == {"torchscript": False, "text_config": {"return_dict": True, "n": [1]}}
    assert named_outputs({"vocab_size": 5, "text_config": {"n": 1}}) == {}


@pytest.mark.parametrize(("architecture", "task"), [("bert", LABELS), ("gpt2", CAUSAL)])
def test_a_token_of_padding_that_the_model_does_not_have(architecture, task):
    """The 500 rows of the embedding end before `<pad>`, so that any other id pads the samples; it is masked."""
    checkpoint = checkpoint_of(architecture, pad="<pad>")
    config = json.loads((checkpoint / "tokenizer_config.json").read_text())
    assert config["added_tokens_decoder"]["500"]["content"] == "<pad>"
    assert validated(checkpoint, exported(checkpoint, task), task)["passed"]


@pytest.mark.parametrize(
    ("architecture", "task", "sizes"),
    [("gpt2", CAUSAL, {"n_positions": 6}), ("bert", LABELS, {"max_position_embeddings": 6}),
     ("bert", LABELS, {"max_position_embeddings": 16})],
)  # fmt: skip
def test_fewer_positions_than_an_exporter_traces(architecture, task, sizes):
    checkpoint = checkpoint_of(architecture, sizes=sizes)
    assert validated(checkpoint, exported(checkpoint, task), task)["passed"]


@pytest.mark.parametrize(
    ("positions", "shapes"),
    [(None, {}), (512, {}), (33, {}), (32, {"sequence_length": 15}), (6, {"sequence_length": 2}),
     (5, {"sequence_length": 2})],
)  # fmt: skip
def test_the_length_that_is_traced(positions, shapes, tmp_path):
    config = {} if positions is None else {"max_position_embeddings": positions}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", **config}))
    assert short_texts(tmp_path) == shapes


def test_a_decoder_whose_past_has_fewer_heads_than_its_queries():
    """optimum sizes the past of Phi by the heads of queries, and failed to trace it."""
    checkpoint = checkpoint_of("phi", sizes={"num_attention_heads": 4, "num_key_value_heads": 2})
    onnx = exported(checkpoint, CAUSAL)
    past = {one.name: one.shape for one in open_for_check(onnx / "model.onnx").get_inputs()}["past_key_values.0.key"]
    assert (past[1], past[3]) == (2, 8)
    assert validated(checkpoint, onnx, CAUSAL)["passed"]


def test_a_type_that_the_class_of_the_task_does_not_know_has_no_reference(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "colpali"}))
    graph = SimpleNamespace(stages=("forward",), first="forward", outputs=lambda _stage: ("embeddings",))
    with pytest.raises(CheckFailed, match="OBE82 transformers loads the checkpoint with no class for `feature-ext"):
        load_torch(tmp_path, "feature-extraction", graph)


def test_too_few_positions_to_trace(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 4}))
    with pytest.raises(CheckFailed) as caught:
        short_texts(tmp_path)
    assert str(caught.value) == "OBE88 the model takes texts of at most 4 tokens, too few to trace it"
