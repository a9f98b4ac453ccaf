from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

for module in ("torch", "optimum.onnxruntime"):
    pytest.importorskip(module)

from small_models import exported  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.generate import GenerateParams  # noqa: E402
from onnxbuild.workers.generate import worker  # noqa: E402
from onnxbuild.workers.generate.loader_past import fit_past  # noqa: E402
from onnxbuild.workers.generate.worker import Continuation, common_prefix, run  # noqa: E402

pytestmark = pytest.mark.heavy

PROMPTS = ("Once upon a time", "The ferry")


@pytest.fixture
def generate(tmp_path):
    """Runs a generation; its continuations lie under `tmp_path`."""
    return lambda model, prompts=PROMPTS, **params: run(
        GenerateParams(task=model.task, prompts=prompts, **params), model.inputs, {"samples": tmp_path}, lambda *_: None
    )


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_onnx_writes_what_pytorch_writes(generate, tmp_path, name):
    facts = generate(exported(name), max_new_tokens=12, rounds=2)
    assert facts["agreement"] == {"tokens": 24, "of": 24}
    own, baseline = facts["engines"]["onnxruntime"], facts["engines"]["torch"]
    assert own["text"] == baseline["text"]
    assert own["new_tokens"] == [12, 12]
    assert own["deterministic"]
    rates = own["tokens_per_second"]
    assert 0 < rates["min"] <= rates["median"] <= rates["max"]
    assert own["time_to_first_token_ms"]["min"] > 0
    assert facts["headline"]["tokens_per_second"] == rates["median"]
    assert facts["headline"]["speedup"] == facts["speedup"]["median"]
    written = json.loads((tmp_path / "generations.json").read_text())
    assert [len(part["token_ms"]) for part in written["onnxruntime"]] == [12] * 4


@pytest.mark.parametrize(
    ("name", "loader", "implied", "own"),
    [
        ("llama-wide", "model.num_key_value_heads", "2 heads of 16", (2, 32)),
        ("olmo2-grouped", "model.num_key_value_heads", "4 heads of 16", (2, 16)),
        ("phi3-grouped", "model.num_key_value_heads", "4 heads of 16", (2, 16)),
        ("gemma2-wide", "model.num_key_value_heads", "4 heads of 16", (2, 32)),
        ("t5-wide", "model.decoder.num_attention_heads", "4 heads of 16", (4, 32)),
    ],
)
def test_the_past_has_the_sizes_of_the_graph_rather_than_those_that_the_loader_computes(
    generate, name, loader, implied, own
):
    facts = generate(exported(name), max_new_tokens=8, rounds=1)
    assert facts["engines"]["onnxruntime"]["text"] == facts["engines"]["torch"]["text"]
    assert facts["agreement"]["tokens"] == facts["agreement"]["of"] > 8
    (warning,) = facts["warnings"]
    assert f"({implied}) than the graph has ({own[0]} heads of {own[1]})" in warning
    path = loader.rpartition(".")[0]
    assert f"`{loader} = {own[0]}` and `{path}.embed_size_per_head = {own[1]}`" in warning


def test_a_user_of_the_loader_can_follow_the_warning():
    """What the warning says, done by hand with the library that users have."""
    import torch
    from optimum.onnxruntime import ORTModelForCausalLM
    from transformers import AutoModelForCausalLM

    made = exported("olmo2-grouped")
    model = ORTModelForCausalLM.from_pretrained(made.onnx)
    ids = torch.tensor([[9, 17, 30, 41]])
    with pytest.raises(Exception, match="Got invalid dimensions for input: past_key_values"):
        model.generate(ids, max_new_tokens=6, do_sample=False)
    model.num_key_value_heads = 2
    model.embed_size_per_head = 16
    reference = AutoModelForCausalLM.from_pretrained(made.checkpoint).generate(ids, max_new_tokens=6, do_sample=False)
    assert model.generate(ids, max_new_tokens=6, do_sample=False).tolist() == reference.tolist()


def test_layers_of_different_sizes_run_without_the_loader(generate, monkeypatch):
    def refuse(_model):
        raise ValueError("the layers have different sizes: [(1, 16), (2, 16)]")

    monkeypatch.setattr(worker, "fit_past", refuse)
    facts = generate(exported("llama-wide"), max_new_tokens=6, rounds=1)
    assert facts["engines"]["onnxruntime"]["text"] == facts["engines"]["torch"]["text"]
    (warning,) = facts["warnings"]
    assert warning == (
        "optimum's ORTModelForCausalLM cannot run the graph (the layers have different sizes: [(1, 16), (2, 16)]);"
        " it ran on plain sessions"
    )


@pytest.mark.parametrize(
    ("shapes", "outcome"),
    [
        ({"past_key_values.0.key": ["b", 2, "n", 16], "past_key_values.1.key": ["b", 1, "n", 16]}, "different sizes"),
        ({"past_key_values.0.key": ["b", "heads", "n", "size"]}, None),  # nothing to tell the loader
        ({"past_key_values.0.key": ["b", 4, "n", 16]}, None),  # the loader is right
        ({"past_key_values.0.key": ["b", 64, "n"]}, None),  # the old form of bloom
        ({"input_ids": ["b", "n"]}, None),
    ],
)
def test_what_a_loader_is_told(shapes, outcome):
    model = SimpleNamespace(input_shapes=shapes, num_key_value_heads=4, embed_size_per_head=16)
    if outcome is None:
        assert fit_past(model) is None
        assert (model.num_key_value_heads, model.embed_size_per_head) == (4, 16)
    else:
        with pytest.raises(ValueError, match=outcome):
            fit_past(model)


def test_tokens_are_those_of_the_model_itself(generate):
    """Greedy search by hand, without the library's loop."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    checkpoint = exported("gpt2").checkpoint
    model, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    ids = tokenizer(PROMPTS[0], return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    with torch.inference_mode():
        for _ in range(6):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    facts = generate(exported("gpt2"), prompts=PROMPTS[:1], max_new_tokens=6, rounds=1)
    assert facts["engines"]["onnxruntime"]["text"] == [tokenizer.decode(ids[0, start:])]


def test_a_single_token_has_no_rate_of_its_own(generate):
    facts = generate(exported("gpt2"), max_new_tokens=1, rounds=1)
    assert facts["engines"]["onnxruntime"]["tokens_per_second"] is None
    assert facts["headline"]["tokens_per_second"] > 0


def test_a_model_without_a_tokenizer_is_refused(generate):
    with pytest.raises(CheckFailed) as caught:
        generate(exported("bert"))
    failure = caught.value.failure
    assert failure.code == "OBE37"
    assert failure.message == "the model has no tokenizer, so it cannot read a prompt"
    assert failure.notes == (
        ("hint", "add tokenizer.json and tokenizer_config.json to the source, or leave out `generate`"),
    )


def test_an_empty_prompt_is_refused(generate):
    with pytest.raises(CheckFailed, match="OBE37 the prompt `` has no tokens"):
        generate(exported("gpt2"), prompts=("",))


def test_rates_by_hand():
    part = Continuation(prompt=0, tokens=(1, 2, 3), token_ms=(100.0, 150.0, 200.0))
    assert (part.first_ms, part.rate, part.decode_rate) == (100.0, 15.0, 20.0)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [((1, 2, 3), (1, 2, 3), 3), ((1, 2, 3), (1, 9, 3), 1), ((1, 2), (1, 2, 3), 2), ((), (1,), 0)],
)
def test_agreement_ends_where_the_texts_part(first, second, shared):
    assert common_prefix(first, second) == shared
