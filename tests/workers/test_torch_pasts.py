"""What a PyTorch decoder is handed beside new tokens."""

from types import SimpleNamespace

import pytest
import torch

from onnxbuild.workers.engines.engine import PAST_IDS
from onnxbuild.workers.engines.torch_pasts import contradicts_itself, read_on

TAKES = {"input_ids", "attention_mask", "position_ids", "past_key_values", "use_cache"}


@pytest.mark.parametrize(
    ("takes", "wanted"),
    [
        (TAKES, {"attention_mask": [[1] * 7], "position_ids": [[5, 6]]}),
        (TAKES - {"position_ids"}, {"attention_mask": [[1] * 7]}),
        (TAKES - {"position_ids", "attention_mask"}, {}),
    ],
)
def test_a_step_on_states_is_told_its_positions(takes, wanted):
    """transformers counts the tokens so far in the first layer, which is 0 where that layer has no attention."""
    calls = []

    def call(**fed):
        calls.append(fed)
        return {"past_key_values": {"states": len(calls)}}

    tensors = {PAST_IDS: torch.ones(1, 5, dtype=torch.long), "input_ids": torch.full((1, 2), 3)}
    read_on(call, takes, tensors | {"attention_mask": torch.ones(1, 7, dtype=torch.long)})()
    first, step = calls
    assert first["input_ids"].shape == (1, 5)
    assert step["past_key_values"] == {"states": 1}
    given = {name: value.tolist() for name, value in step.items() if name in {"attention_mask", "position_ids"}}
    assert given == wanted


def test_a_model_whose_steps_contradict_it_reads_all_tokens_at_once():
    """Zamba2 of transformers 5 bounds its time steps in a pass over a text, and not in a step on its cache."""
    calls = []

    def call(**fed):
        calls.append(fed)
        return {"logits": fed["input_ids"][..., None] * 2}

    tensors = {PAST_IDS: torch.tensor([[7, 8, 9]]), "input_ids": torch.tensor([[4, 5]])}
    run = read_on(call, TAKES, tensors | {"attention_mask": torch.ones(1, 5, dtype=torch.long)}, at_once=True)
    assert run()["logits"].tolist() == [[[8], [10]]]
    assert [(fed["input_ids"].tolist(), fed["use_cache"]) for fed in calls] == [([[7, 8, 9, 4, 5]], False)]
    types = {name: SimpleNamespace(config=SimpleNamespace(model_type=name)) for name in ("zamba2", "bamba")}
    assert [contradicts_itself(types[name]) for name in ("zamba2", "bamba")] == [True, False]
