"""Which class of transformers a task is exported from and compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxbuild.protocol import CheckFailed

CLASSES: Mapping[str, str] = {
    "feature-extraction": "AutoModel",
    "sentence-similarity": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "multiple-choice": "AutoModelForMultipleChoice",
    "image-classification": "AutoModelForImageClassification",
    "zero-shot-image-classification": "AutoModelForZeroShotImageClassification",
    "audio-classification": "AutoModelForAudioClassification",
    "text-generation": "AutoModelForCausalLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
    "automatic-speech-recognition": "AutoModelForSpeechSeq2Seq",
    "image-to-text": "AutoModelForVision2Seq",
}

# What transformers 5 calls a class of before.
_RENAMED: Mapping[str, str] = {"AutoModelForVision2Seq": "AutoModelForImageTextToText"}


def class_of(task: str, *, ctc: bool = False) -> Any:
    """The class of transformers for a task; `ctc`: a speech model of one graph, without a decoder.

    Errors: CheckFailed OBE01 for an unknown task.
    """
    import transformers

    plain = task.removesuffix("-with-past")
    if plain == "automatic-speech-recognition" and ctc:
        return transformers.AutoModelForCTC
    if plain not in CLASSES:
        raise CheckFailed("OBE01", f"no PyTorch class is known for task `{task}`")
    return auto_class(CLASSES[plain])


def auto_class(name: str) -> Any:
    """A class of `CLASSES` under the name that it has in the transformers at hand."""
    import transformers

    return getattr(transformers, name, None) or getattr(transformers, _RENAMED[name])
