"""validate: proves a variant against the reference, the PyTorch model in fp32 (or the ONNX model it came from)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.steps.dataset_rows import Rows
from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams, trusted
from onnxbuild.tables.tasks import is_ctc

# What can be bounded, and the side from which it is: "min" says that smaller values fail.
METRICS: Mapping[str, Literal["min", "max"]] = {
    "max_abs": "max",  # largest absolute difference of any element of any output
    "mean_abs": "max",  # mean absolute difference, worst output
    "cosine_min": "min",  # smallest cosine of a row (a token's or a sentence's vector), worst output
    "cosine_mean": "min",  # mean cosine of rows, worst output
    "top1": "min",  # share of positions whose argmax agrees
    "max_probability": "max",  # largest difference of a class probability after softmax
    "kl_mean": "max",  # mean Kullback-Leibler divergence of the next-token distribution, nats
    "perplexity_ratio": "max",  # perplexity of the variant over that of the reference, on the validation text
    "accuracy_drop": "max",  # of a dataset with labels: share of right rows of the reference minus that of the variant
}

LABEL = "label"  # the role of the column that names what is right
_LABELLED = "text-classification"  # the task whose label is one value a row

# The default bounds of `accuracy_drop`, where a dataset names a column of labels.
ACCURACY_DROP: Mapping[str, float] = {
    "fp32": 0.0, "fp16": 0.005, "bf16": 0.01, "int8": 0.01, "q8": 0.01, "q4": 0.02, "bnb4": 0.02,
}  # fmt: skip

# Tasks whose inputs are pictures or sounds.
NOT_OF_TEXT = (
    "image-classification", "zero-shot-image-classification", "audio-classification", "image-to-text",
    "image-to-text-with-past", "automatic-speech-recognition", "automatic-speech-recognition-with-past",
)  # fmt: skip

_EMBEDDING = ("feature-extraction", "sentence-similarity")
_CLASSIFICATION = (
    "text-classification", "token-classification", "question-answering", "multiple-choice", "image-classification",
    "audio-classification", "zero-shot-image-classification", "fill-mask",
)  # fmt: skip

# docs/explanation/thresholds.md says where each number comes from. fp32 also bounds every element.
THRESHOLDS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "embedding": {
        "fp32": {"max_abs": 1e-3, "cosine_min": 0.9999},
        "fp16": {"cosine_min": 0.999},
        "int8": {"cosine_mean": 0.98},
        "q8": {"cosine_mean": 0.99},
        "q4": {"cosine_mean": 0.96},
        "bnb4": {"cosine_mean": 0.94},
        "bf16": {"cosine_min": 0.99},
    },
    "classification": {
        "fp32": {"max_abs": 1e-3, "max_probability": 1e-3, "top1": 1.0},
        "fp16": {"max_probability": 0.02, "top1": 0.995},
        "int8": {"top1": 0.97},
        "q8": {"top1": 0.98},
        "q4": {"top1": 0.95},
        "bnb4": {"top1": 0.95},
        "bf16": {"max_probability": 0.05, "top1": 0.98},
    },
    "generation": {
        "fp32": {"max_abs": 1e-2, "top1": 0.999, "perplexity_ratio": 1.001},
        "fp16": {"top1": 0.99, "perplexity_ratio": 1.005},
        "int8": {"kl_mean": 0.01, "perplexity_ratio": 1.01},
        "q8": {"kl_mean": 0.01, "perplexity_ratio": 1.01},
        "q4": {"kl_mean": 0.05, "perplexity_ratio": 1.05},
        "bnb4": {"kl_mean": 0.1, "perplexity_ratio": 1.1},
        "bf16": {"top1": 0.97, "perplexity_ratio": 1.02},
    },
}


class ValidateParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to compare, and what to accept.

    `shapes`: (batch, sequence) pairs in samples and tokens; rows are padded to unequal lengths. `dataset`: rows of your
    own, by its name, in place of the sentences that come with onnxbuild. `samples`: how many rows of it. `sequence`:
    tokens of a row at most. `seed`: which rows. `thresholds` over the defaults for the task and precision, by metric.
    `on_failure: warn` records a failed check and lets the run go on.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("task", "precision", "device", "rows", "trust_remote_code")

    task: str = ""
    precision: str = "fp32"
    device: Literal["cuda"] | UnsetType = UNSET  # of the target, where that is not the CPU
    shapes: tuple[tuple[int, int], ...] = ((1, 8), (1, 64), (4, 32))
    dataset: str = ""
    samples: int = 200
    sequence: int = 128
    seed: int = 0
    thresholds: Mapping[str, float] = {}
    on_failure: Literal["fail", "warn"] = "fail"
    rows: Rows = Rows()

    @property
    def reads_labels(self) -> bool:
        """Whether rows say what is right, so that the accuracy of both sides can be told."""
        return self.task == _LABELLED and LABEL in self.rows.columns


def table_of(task: str) -> str:
    """The row of `THRESHOLDS` that a task is judged by."""
    if task in _EMBEDDING:
        return "embedding"
    return "classification" if task in _CLASSIFICATION else "generation"


def _judged_as(precision: str) -> str:
    """The row of a precision: quantized weights cost more than the half precision around them."""
    weights = precision.removesuffix("bf16").removesuffix("f16")
    return weights if weights in THRESHOLDS["generation"] else precision if precision.endswith("16") else "fp32"


def _resolve(params: ValidateParams, context: Context) -> ValidateParams:
    task = context.task or ""
    by_precision = THRESHOLDS["classification" if is_ctc(task, context.config) else table_of(task)]
    judged_as = _judged_as(context.precision)
    settled = msgspec.structs.replace(
        params,
        task=task,
        precision=context.precision,
        device="cuda" if context.device == "cuda" else UNSET,
        trust_remote_code=trusted(context),
    )
    drop = {"accuracy_drop": ACCURACY_DROP[judged_as]} if settled.reads_labels else {}
    return msgspec.structs.replace(settled, thresholds={**by_precision[judged_as], **drop, **params.thresholds})


def _check(params: ValidateParams, context: Context) -> Iterable[Fault]:
    for metric in params.thresholds:
        if metric not in METRICS:
            near = did_you_mean(metric, METRICS)
            yield Fault(
                code="OB610",
                field="thresholds",
                message=f"unknown metric `{metric}`",
                hint=near or f"one of {', '.join(METRICS)}",
            )
    for batch, sequence in params.shapes:
        if batch < 1 or sequence < 1:
            yield Fault(code="OB611", field="shapes", message=f"shape [{batch}, {sequence}] is empty")
    yield from _check_data(params, context)


def _check_data(params: ValidateParams, context: Context) -> Iterable[Fault]:
    for field in ("samples", "sequence"):
        if getattr(params, field) < 1:
            yield Fault(code="OB612", field=field, message=f"`{field}` expects a number from 1")
        elif not params.dataset and getattr(params, field) != getattr(ValidateParams(), field):
            message = f"`{field}` has no effect without `dataset`"
            yield Fault(code="OB615", field=field, message=message, hint="it chooses rows of a dataset")
    if params.dataset and context.task in NOT_OF_TEXT:
        message = f"a dataset is read as text, which the task `{context.task}` does not read"
        yield Fault(code="OB615", field="dataset", message=message, hint="remove `dataset`: seeded values serve")
    if "accuracy_drop" in params.thresholds and not (params.dataset and context.task in {_LABELLED, None}):
        message = "`accuracy_drop` is taken of the labels of a dataset, by a text classifier alone"
        hint = "name a dataset with `columns: {label: …}`" if context.task == _LABELLED else "remove it"
        yield Fault(code="OB615", field="thresholds", message=message, hint=hint)


VALIDATE = Kind(
    name="validate",
    version=3,
    params=ValidateParams,
    inputs={"model": "onnx", "reference": "checkpoint | onnx"},
    outputs={"report": "report"},
    worker="onnxbuild.workers.validate.worker:run",
    packages=lambda _params: ("onnxruntime", "transformers", "torch", "sentence-transformers"),
    resolve=_resolve,
    check=_check,
    memory_factor=4.0,
)
