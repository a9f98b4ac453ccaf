"""What the Hub and the libraries that load ONNX models call the tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from onnxbuild.tables.tasks import ALIASES, TASKS, proper_name


class HubTask(Struct, frozen=True, kw_only=True):
    """One task: its `pipeline_tag` on the Hub, and the class of optimum and the pipeline that load its models.

    `pipeline` is None where no pipeline of both transformers and Transformers.js takes plain text for the task.
    `example`: what an example gives the model, which is the pipeline's input except for `tokens`.
    """

    tag: str
    optimum: str = ""
    pipeline: str | None = None
    example: Literal["text", "tokens", "gap", "question", "prompt"] = "text"


HUB_TASKS: Mapping[str, HubTask] = {
    "feature-extraction": HubTask(tag="feature-extraction", optimum="ORTModelForFeatureExtraction", example="tokens"),
    "sentence-similarity": HubTask(tag="sentence-similarity"),
    "fill-mask": HubTask(tag="fill-mask", optimum="ORTModelForMaskedLM", pipeline="fill-mask", example="gap"),
    "text-classification": HubTask(
        tag="text-classification", optimum="ORTModelForSequenceClassification", pipeline="text-classification"
    ),
    "token-classification": HubTask(
        tag="token-classification", optimum="ORTModelForTokenClassification", pipeline="token-classification"
    ),
    "question-answering": HubTask(
        tag="question-answering",
        optimum="ORTModelForQuestionAnswering",
        pipeline="question-answering",
        example="question",
    ),
    "multiple-choice": HubTask(tag="multiple-choice"),
    "image-classification": HubTask(tag="image-classification"),
    "zero-shot-image-classification": HubTask(tag="zero-shot-image-classification"),
    "audio-classification": HubTask(tag="audio-classification"),
    "text-generation": HubTask(
        tag="text-generation", optimum="ORTModelForCausalLM", pipeline="text-generation", example="prompt"
    ),
    "text2text-generation": HubTask(
        tag="text2text-generation", optimum="ORTModelForSeq2SeqLM", pipeline="text2text-generation", example="prompt"
    ),
    "automatic-speech-recognition": HubTask(tag="automatic-speech-recognition"),
    "image-to-text": HubTask(tag="image-to-text"),
}

# Tasks that the Hub names, and that are one task here: they differ in what a model was trained for, not in its graph.
_SENTENCES = frozenset({"feature-extraction", "sentence-similarity"})


def hub_task(task: str) -> HubTask | None:
    """The row of a task, with or without a cache; None for a task that is not known."""
    row = TASKS.get(proper_name(task))
    return None if row is None else HUB_TASKS[row.name.removesuffix("-with-past")]


def pipeline_tag(task: str, stated: str | None) -> str | None:
    """The `pipeline_tag` of a model. `stated`: that of the source, which may be narrower (`summarization`)."""
    row = hub_task(task)
    if row is None:
        return None
    same = stated is not None and (ALIASES.get(stated) or stated) == row.tag
    return stated if stated is not None and (same or {stated, row.tag} <= _SENTENCES) else row.tag
