"""What Transformers.js loads: the file of each dtype, the pipeline of each task, and what has no kernel in a client.

The suffixes are those of `utils/dtypes.js`, the names of files those of `models/session_config.js` in version 4.3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from onnxbuild.tables.tasks import TASKS, proper_name

Dtype = Literal["fp32", "fp16", "q8", "int8", "uint8", "q4", "q4f16", "bnb4", "q2", "q2f16"]
Client = Literal["node", "wasm", "webgpu"]

# Dtype → the end of a file's name, before `.onnx`.
SUFFIXES: Mapping[str, str] = {
    "fp32": "",
    "fp16": "_fp16",
    "q8": "_quantized",
    "int8": "_int8",
    "uint8": "_uint8",
    "q4": "_q4",
    "q4f16": "_q4f16",
    "bnb4": "_bnb4",
    "q2": "_q2",
    "q2f16": "_q2f16",
}

# The precision of a target → the dtype that it is by default. Int8 is q8, because a browser loads q8 unless told
# otherwise.
OF_PRECISION: Mapping[str, str] = {
    "fp32": "fp32",
    "fp16": "fp16",
    "int8": "q8",
    "q8": "q8",
    "q4": "q4",
    "q4-stored": "q4",
    "q4fp16": "q4f16",
    "bnb4": "bnb4",
}

# The dtypes under which pages look for weights in 8 bits: they differ in how the library's own scripts make them.
_EIGHT_BITS = ("q8", "int8", "uint8")


def dtypes_of(precision: str, otherwise: str) -> tuple[str, ...]:
    """The dtypes that a target of a precision may be called without misleading a page.

    `otherwise`: what a precision that no dtype stands for may be called, unless it is `fp32`, which pages load by
    default.
    """
    own = OF_PRECISION.get(precision)
    if own is None:
        return () if otherwise == "fp32" else (otherwise,)
    return _EIGHT_BITS if own in _EIGHT_BITS else (own,)


# The programs that can be the browser of a check, best first.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# What each client loads if a page names no dtype.
DEFAULT_DTYPES: Mapping[str, str] = {"node": "fp32", "wasm": "q8", "webgpu": "fp32"}

# The precisions that no dtype stands for, and why.
NO_DTYPE: Mapping[str, str] = {
    "bf16": "no browser computes in bf16, and Transformers.js has no dtype for it",
    "q4bf16": "no browser computes in bf16, and Transformers.js has no dtype for it",
    "q8bf16": "no browser computes in bf16, and Transformers.js has no dtype for it",
    "bnb4bf16": "no browser computes in bf16, and Transformers.js has no dtype for it",
}

MOST_CHUNKS = 100  # of external weights that the library looks for
UNUSED_GRAPHS = ("decoder_model.onnx", "decoder_with_past_model.onnx")  # the library loads the merged decoder alone


Reads = Literal["text", "pair", "image", "audio", "image-and-text", "image-and-points"]


class JavaScriptTask(Struct, frozen=True, kw_only=True):
    """A task: the pipeline that runs its models, what they read, and the documentation's name of the pipeline.

    `of_class`: the class that runs the models instead, where the library has no pipeline for them. `options`: what an
    example gives the pipeline besides its input; `given`: its input, if not the usual one. `tag`: what the Hub calls
    them, where the task has another tag.
    """

    pipeline: str = ""
    reads: Reads
    documented: str
    of_class: str = ""
    options: str = ""
    given: str = ""
    tag: str = ""

    @property
    def reads_media(self) -> bool:
        """Whether the models read images or audio, for which they need a processor."""
        return self.reads not in {"text", "pair"}

    @property
    def reads_text(self) -> bool:
        """Whether the models read text, for which they need a tokenizer."""
        return self.reads in {"text", "pair", "image-and-text"}


_TASKS: Mapping[str, JavaScriptTask] = {
    "feature-extraction": JavaScriptTask(
        pipeline="feature-extraction",
        reads="text",
        documented="FeatureExtractionPipeline",
        options=", { pooling: 'mean', normalize: true }",
    ),
    "sentence-similarity": JavaScriptTask(
        pipeline="feature-extraction",
        reads="text",
        documented="FeatureExtractionPipeline",
        options=", { pooling: 'mean', normalize: true }",
    ),
    "fill-mask": JavaScriptTask(
        pipeline="fill-mask",
        reads="text",
        documented="FillMaskPipeline",
        given="`The harbour is ${run.tokenizer.mask_token} tonight.`",
    ),
    "text-classification": JavaScriptTask(
        pipeline="text-classification", reads="text", documented="TextClassificationPipeline"
    ),
    "token-classification": JavaScriptTask(
        pipeline="token-classification", reads="text", documented="TokenClassificationPipeline"
    ),
    "question-answering": JavaScriptTask(
        pipeline="question-answering", reads="pair", documented="QuestionAnsweringPipeline"
    ),
    # Without a number of tokens, the library generates 256, which is more than some models take.
    "text-generation": JavaScriptTask(
        pipeline="text-generation",
        reads="text",
        documented="TextGenerationPipeline",
        options=", { max_new_tokens: 20 }",
    ),
    "text2text-generation": JavaScriptTask(
        pipeline="text2text-generation",
        reads="text",
        documented="Text2TextGenerationPipeline",
        options=", { max_new_tokens: 20 }",
    ),
    "automatic-speech-recognition": JavaScriptTask(
        pipeline="automatic-speech-recognition", reads="audio", documented="AutomaticSpeechRecognitionPipeline"
    ),
    "audio-classification": JavaScriptTask(
        pipeline="audio-classification", reads="audio", documented="AudioClassificationPipeline"
    ),
    "image-classification": JavaScriptTask(
        pipeline="image-classification", reads="image", documented="ImageClassificationPipeline"
    ),
    "image-to-text": JavaScriptTask(pipeline="image-to-text", reads="image", documented="ImageToTextPipeline"),
    "zero-shot-image-classification": JavaScriptTask(
        pipeline="zero-shot-image-classification",
        reads="image-and-text",
        documented="ZeroShotImageClassificationPipeline",
    ),
}


# Model type → what runs it in place of the pipeline of its task, which for `feature-extraction` reads text.
_BY_CLASS: Mapping[str, JavaScriptTask] = {
    "sam": JavaScriptTask(of_class="SamModel", reads="image-and-points", documented="SamModel", tag="mask-generation"),
}


def javascript_task(task: str, config: Mapping[str, Any] | None = None) -> JavaScriptTask | None:
    """The row of a task, with or without a cache; None if the library neither has a pipeline for it nor a class."""
    row = TASKS.get(proper_name(task))
    found = None if row is None else _TASKS.get(row.name.removesuffix("-with-past"))
    if found is None or found.pipeline != "feature-extraction":
        return found
    return _BY_CLASS.get((config or {}).get("model_type", ""), found)


# What the config of a model that reads no text has; one that reads text too has a vocabulary.
_OF_IMAGES = frozenset({"image_size", "patch_size", "num_channels", "vision_config"})
_OF_AUDIO = frozenset({"conv_dim", "num_mel_bins"})
_OF_TEXT = frozenset({"vocab_size", "text_config"})
# The parts of a model that reads text and something else, and what that is.
_BESIDE_TEXT: Mapping[str, str] = {"vision_config": "text and images", "audio_config": "text and audio"}
# The same by model type, for a config that does not list its parts.
_TWO_TOWERS: Mapping[str, str] = {"clip": "text and images", "siglip": "text and images", "clap": "text and audio"}


def read_instead(task: str, config: Mapping[str, Any] | None) -> str | None:
    """What a feature extractor reads that is not text alone, as its pipeline does; None for text."""
    row = javascript_task(task, config)
    if config is None or row is None or row.pipeline != "feature-extraction":
        return None
    if "text_config" in config or config.get("model_type") in _TWO_TOWERS:
        known = (reads for part, reads in _BESIDE_TEXT.items() if part in config)
        return next(known, _TWO_TOWERS.get(config.get("model_type", "")))
    if _OF_AUDIO.intersection(config):
        return "audio"
    return "images" if _OF_IMAGES.intersection(config) and not _OF_TEXT.intersection(config) else None


def file_name(graph: str, dtype: str) -> str:
    """The name that the library looks for, for a graph such as `decoder_model_merged.onnx` in a dtype."""
    return f"{graph.removesuffix('.onnx')}{SUFFIXES[dtype]}.onnx"


# Operator → the clients without a kernel for it that is right, by the major version of the library. Where an operator
# has kernels for some types of weights alone, `Operator:type` stands for one of them. In version 3, products of
# integers with WebGPU are wrong by more than the largest number (measured with MiniLM and GPT-2, 3.8.1), and weights of
# 4 bits with zero points stop a session ("cannot convert shape").
_NO_KERNEL: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "GatherBlockQuantized": {4: ("wasm", "webgpu")},
    "ConvInteger:int8": {3: ("node", "wasm", "webgpu")},
    "MatMulInteger": {3: ("webgpu",)},
    "MatMulNBits:zero-points": {3: ("webgpu",)},
}


def without_kernel(operators: frozenset[str], client: str, major: int) -> tuple[str, ...]:
    """Those of the operators that a client has no right kernel for."""
    return tuple(sorted(name for name in operators if client in _NO_KERNEL.get(name, {}).get(major, ())))


# Model type → the clients that compute other numbers from its graphs in every dtype, by the major version. The decoder
# of SAM's masks is off by as much as its largest number with WebGPU in version 3, and its encoder is right.
_WRONG_TYPES: Mapping[str, Mapping[int, tuple[str, ...]]] = {"sam": {3: ("webgpu",)}}


def computes_wrong(model_type: str | None, client: str, major: int) -> bool:
    """Whether a client computes other numbers from the graphs of a model type than ONNX Runtime does."""
    return client in _WRONG_TYPES.get(model_type or "", {}).get(major, ())


_HALVES = ("fp16", "q4f16", "q2f16")
_INTEGERS = ("q8", "int8", "uint8")
# How far numbers of a client may be from those of Python's ONNX Runtime on the same file, as a part of the largest one.
# Node has the kernels of an ONNX Runtime of its own: in version 4 they round as Python's do, in version 3 they are from
# 2025. WebAssembly and WebGPU have others, which round integers and halves otherwise.
_TOLERANCES: Mapping[tuple[str, int], Mapping[str, float]] = {
    ("node", 4): {"fp32": 1e-5, **dict.fromkeys(_HALVES, 1e-2)},
    ("node", 3): dict.fromkeys((*_HALVES, *_INTEGERS), 2e-2),
    ("wasm", 4): {"fp32": 1e-5, **dict.fromkeys((*_HALVES, *_INTEGERS), 2e-2)},
    ("wasm", 3): dict.fromkeys((*_HALVES, *_INTEGERS), 2e-2),
    ("webgpu", 4): dict.fromkeys(_INTEGERS, 2e-2),
    ("webgpu", 3): dict.fromkeys(_INTEGERS, 2e-2),
}


def tolerance_of(client: str, major: int, dtype: str) -> float:
    """The tolerance of a dtype in a client of a major version of the library."""
    return _TOLERANCES[client, major].get(dtype, 1e-4)
