"""Base models and adapters of peft with unequal, odd sizes, and what peft itself answers for them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from families import scratch

LORA = {"r": 3, "lora_alpha": 7, "target_modules": ["q_proj", "v_proj", "down_proj"], "init_lora_weights": False}


@cache
def base() -> Path:
    """A decoder with grouped keys and a hidden size that is no power of two."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=211, hidden_size=48, intermediate_size=77, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=96, tie_word_embeddings=False, pad_token_id=0,
    )  # fmt: skip
    folder = scratch() / "base"
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@cache
def adapter(task_type: str = "CAUSAL_LM", **more) -> tuple[Path, object]:
    """An adapter that peft has saved, and the logits that peft's own model gives for `ids()`, unmerged."""
    import peft
    import torch
    import transformers

    torch.manual_seed(7)
    names = {"CAUSAL_LM": "AutoModelForCausalLM", "SEQ_CLS": "AutoModelForSequenceClassification"}
    head = {"num_labels": 3} if task_type == "SEQ_CLS" else {}
    model = getattr(transformers, names[task_type]).from_pretrained(base(), dtype=torch.float32, **head)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(task_type=task_type, **{**LORA, **more})).eval()
    folder = scratch() / "adapter"
    wrapped.save_pretrained(folder)
    with torch.no_grad():
        return folder, wrapped(ids()).logits.numpy()


def ids():
    import torch

    return torch.randint(1, 211, (2, 13), generator=torch.Generator().manual_seed(3))


def logits(folder: Path, name: str = "AutoModelForCausalLM"):
    """What a checkpoint answers in transformers alone."""
    import torch
    import transformers

    model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(ids()).logits.numpy()
