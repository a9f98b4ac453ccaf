"""The classes of optimum that load ONNX models, by task."""

from __future__ import annotations

from collections.abc import Mapping

from onnxbuild.tables.tasks import PAST, proper_name

_CLASSES: Mapping[str, str] = {
    "feature-extraction": "FeatureExtraction",
    "sentence-similarity": "FeatureExtraction",
    "fill-mask": "MaskedLM",
    "text-classification": "SequenceClassification",
    "token-classification": "TokenClassification",
    "question-answering": "QuestionAnswering",
    "multiple-choice": "MultipleChoice",
    "text-generation": "CausalLM",
    "text2text-generation": "Seq2SeqLM",
    "automatic-speech-recognition": "SpeechSeq2Seq",
    "image-to-text": "Vision2Seq",
    "image-classification": "ImageClassification",
    "zero-shot-image-classification": "ZeroShotImageClassification",
    "semantic-segmentation": "SemanticSegmentation",
    "audio-classification": "AudioClassification",
    "audio-frame-classification": "AudioFrameClassification",
    "audio-xvector": "AudioXVector",
}


def ort_class(task: str) -> str | None:
    """The class of optimum that loads the models of a task; None if it has none."""
    suffix = _CLASSES.get(proper_name(task).removesuffix(PAST))
    return f"ORTModelFor{suffix}" if suffix else None
