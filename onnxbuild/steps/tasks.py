"""Tasks: which there are, which family of graph each exports to, and which one a checkpoint's config implies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

# encoder: one forward pass; decoder: tokens with a KV cache; encoder-decoder: an encoder and decoders, one file each.
Family = Literal["encoder", "decoder", "encoder-decoder"]

# The names are optimum's; `metric` is what a validation of the task stands or falls with.
TASKS: Mapping[str, Family] = {
    "feature-extraction": "encoder",
    "sentence-similarity": "encoder",
    "fill-mask": "encoder",
    "text-classification": "encoder",
    "token-classification": "encoder",
    "question-answering": "encoder",
    "multiple-choice": "encoder",
    "image-classification": "encoder",
    "zero-shot-image-classification": "encoder",
    "audio-classification": "encoder",
    "text-generation": "decoder",
    "text-generation-with-past": "decoder",
    "text2text-generation": "encoder-decoder",
    "text2text-generation-with-past": "encoder-decoder",
    "automatic-speech-recognition": "encoder-decoder",
    "automatic-speech-recognition-with-past": "encoder-decoder",
}

# The suffix of `architectures[0]` in config.json names the head that was trained.
_TASK_OF_HEAD: Mapping[str, str] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMultipleChoice": "multiple-choice",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation-with-past",
    "LMHeadModel": "text-generation-with-past",
    "ForConditionalGeneration": "text2text-generation-with-past",
    "ForImageClassification": "image-classification",
    "ForAudioClassification": "audio-classification",
    "Model": "feature-extraction",
}

# Where the head's name misleads: Whisper's "ForConditionalGeneration" hears, it does not read.
_TASK_OF_TYPE: Mapping[str, str] = {"whisper": "automatic-speech-recognition-with-past"}


def infer_task(config: Mapping[str, Any]) -> str | None:
    """The task that a checkpoint's config.json implies, or None where it does not say."""
    if (by_type := _TASK_OF_TYPE.get(str(config.get("model_type")))) is not None:
        return by_type
    architectures = config.get("architectures") or []
    head = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    return next((task for suffix, task in _TASK_OF_HEAD.items() if head.endswith(suffix)), None)


def family_of(task: str | None) -> Family:
    """The family of graph that a task exports to; an unknown task counts as one forward pass."""
    return TASKS.get(task or "", "encoder")
