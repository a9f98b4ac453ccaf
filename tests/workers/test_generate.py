from __future__ import annotations

import json

import pytest

for module in ("torch", "optimum.onnxruntime"):
    pytest.importorskip(module)

from small_models import exported  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.generate import GenerateParams  # noqa: E402
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
