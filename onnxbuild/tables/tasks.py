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
    "image-to-text": "encoder-decoder",
    "image-to-text-with-past": "encoder-decoder",
}

# What a sentence-transformer gives, with its pooling in the graph.
SENTENCE_TASKS = ("sentence-similarity", "feature-extraction")

SPEECH = "automatic-speech-recognition"

# Speech models of one graph, without a decoder: CTC, a letter for each frame.
CTC_TYPES = frozenset({
    "data2vec-audio", "hubert", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert",
    "wav2vec2-conformer", "wavlm",
})  # fmt: skip

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
    "ForCTC": "automatic-speech-recognition",
    "Model": "feature-extraction",
}

# Where the head's name misleads: Whisper's "ForConditionalGeneration" hears, it does not read, and "CLIPModel" matches.
_TASK_OF_TYPE: Mapping[str, str] = {
    "whisper": "automatic-speech-recognition-with-past",
    "vision-encoder-decoder": "image-to-text-with-past",
    "clip": "zero-shot-image-classification",
    "siglip": "zero-shot-image-classification",
}


def infer_task(config: Mapping[str, Any]) -> str | None:
    """The task that a checkpoint's config.json implies, or None where it does not say."""
    if (by_type := _TASK_OF_TYPE.get(str(config.get("model_type")))) is not None:
        return by_type
    architectures = config.get("architectures") or []
    head = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    return next((task for suffix, task in _TASK_OF_HEAD.items() if head.endswith(suffix)), None)


def family_of(task: str | None, config: Mapping[str, Any] | None = None) -> Family:
    """The family of graph that a task exports to; an unknown task counts as one forward pass."""
    return "encoder" if is_ctc(task, config) else TASKS.get(task or "", "encoder")


def is_ctc(task: str | None, config: Mapping[str, Any] | None) -> bool:
    """Whether a model writes down speech in one pass."""
    return task == SPEECH and (config or {}).get("model_type") in CTC_TYPES
