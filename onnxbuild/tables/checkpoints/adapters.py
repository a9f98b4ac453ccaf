"""Adapters as peft saves them: their files, what they were trained for, and which of them can be merged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from onnxbuild.tables.checkpoint_files import companions

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")  # the preferred format first

# What peft trains besides weights (https://huggingface.co/docs/peft/conceptual_guides/prompting): texts or keys that
# are put before the input. There is nothing to add to a weight.
_NOT_MERGED = frozenset({
    "PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT", "CPT", "CARTRIDGE",
})  # fmt: skip

# The task and the class of transformers for `task_type`, which says what peft wrapped.
TASK_TYPES: Mapping[str, tuple[str, str]] = {
    "CAUSAL_LM": ("", "AutoModelForCausalLM"),
    "SEQ_2_SEQ_LM": ("", "AutoModelForSeq2SeqLM"),
    "SEQ_CLS": ("text-classification", "AutoModelForSequenceClassification"),
    "TOKEN_CLS": ("token-classification", "AutoModelForTokenClassification"),
    "QUESTION_ANS": ("question-answering", "AutoModelForQuestionAnswering"),
    "FEATURE_EXTRACTION": ("feature-extraction", "AutoModel"),
}


def weights_of(names: Collection[str]) -> str | None:
    """The file of an adapter's weights; None if the files contain no adapter."""
    return next((name for name in WEIGHTS if name in names and CONFIG in names), None)


def select_adapter(names: Iterable[str]) -> tuple[str, ...]:
    """The names that make up an adapter, with its tokenizer; empty if there is none."""
    known = sorted(names)
    weights = weights_of(known)
    beside = [name for name in companions(known) if name != "config.json" and "/" not in name]
    return tuple(sorted({CONFIG, weights, *beside})) if weights is not None else ()


def base_of(config: Mapping[str, Any]) -> str:
    """The name of the model that an adapter was trained for; empty if its config does not say."""
    name = config.get("base_model_name_or_path")
    return name if isinstance(name, str) else ""


def kind_of(config: Mapping[str, Any]) -> str:
    """The kind of an adapter as peft calls it, such as LORA or IA3."""
    return str(config.get("peft_type") or "")


def is_merged(kind: str) -> bool:
    """Whether adapters of a kind can be merged into weights."""
    return kind not in _NOT_MERGED


def task_of(config: Mapping[str, Any]) -> str | None:
    """The task that an adapter was trained for, where it brings a head of its own."""
    return TASK_TYPES.get(str(config.get("task_type")), ("", ""))[0] or None
