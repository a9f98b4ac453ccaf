"""The table of thresholds: what `validate` can measure, and the bounds of each task and precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxbuild.tables.bounds.metric import Metric, Side
from onnxbuild.tables.bounds.row_metrics import ROW_BOUNDS, ROW_METRICS, RowKind, row_bounds
from onnxbuild.tables.tasks import TASKS, ThresholdRow, file_role, is_ctc, is_speech_to_text, reads_pairs

Bounds = Mapping[str, float]
METRICS: Mapping[str, Metric] = {
    "max_abs": Metric("max", "largest absolute difference of any element of any output"),
    "mean_abs": Metric("max", "mean absolute difference, worst output"),
    "cosine_min": Metric(
        "min", "smallest cosine of a row (the vector of a token or a sentence), worst output", least=-1.0, most=1.0
    ),
    "cosine_mean": Metric("min", "mean cosine of the rows, worst output", least=-1.0, most=1.0),
    "top1": Metric("min", "share of rows with the same largest logit", most=1.0),
    "top5": Metric("min", "share of rows whose largest logit is among the variant's five largest", most=1.0),
    "max_probability": Metric("max", "largest difference of a class probability after softmax", most=1.0),
    "kl_mean": Metric("max", "mean Kullback-Leibler divergence of the next-token distribution, in nats"),
    "perplexity_ratio": Metric("max", "perplexity of the variant divided by that of the reference"),
    "accuracy_drop": Metric(
        "max", "accuracy of the reference minus that of the variant, on a dataset with labels", -1.0, 1.0
    ),
    **ROW_METRICS,
}

# The default bounds of `accuracy_drop`, if a dataset names a column of labels.
ACCURACY_DROP: Bounds = {
    "fp32": 0.0, "fp16": 0.005, "bf16": 0.01, "int8": 0.01, "q8": 0.01, "q4": 0.02, "bnb4": 0.02,
}  # fmt: skip

# docs/explanation/thresholds.md says where each number comes from. fp32 also bounds every element.
THRESHOLDS: Mapping[ThresholdRow, Mapping[str, Bounds]] = {
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


# The row of a graph that returns vectors or numbers, and no logits.
OF_VECTORS: ThresholdRow = "embedding"


def table_of(task: str, config: Mapping[str, Any] | None = None) -> ThresholdRow:
    """The row of `THRESHOLDS` for a task; a CTC model names one letter per frame and predicts no next token."""
    if is_ctc(task, config):
        return "classification"
    row = TASKS.get(task)
    return row.thresholds if row is not None else "generation"


def judged_as(precision: str) -> str:
    """The column of a precision: quantized weights cost more accuracy than the half precision around them."""
    weights = precision.removesuffix("bf16").removesuffix("f16")
    if weights in ACCURACY_DROP:
        return weights
    return precision if precision in ACCURACY_DROP else "fp32"


def row_kind(task: str, config: Mapping[str, Any] | None) -> RowKind | None:
    """What a model of this task decides about rows of text; None where no metric over rows is known."""
    row = TASKS.get(task)
    if row is None or row.modality != "text" or is_ctc(task, config):
        return None
    if row.thresholds == "embedding":
        return "vectors"
    if task in _ROW_KINDS:
        return _ROW_KINDS[task]
    if row.is_labelled:
        return "scores" if reads_pairs(task, config or {}) else "labels"
    if row.generates:
        return "language" if row.family == "decoder" else "rewriting"
    return None


def file_kind(task: str) -> RowKind | None:
    """What a model of this task decides about recordings or pictures; None where it reads text, or neither."""
    if not file_role(task):
        return None
    return "transcripts" if is_speech_to_text(task) else "pictures"


_ROW_KINDS: Mapping[str, RowKind] = {"question-answering": "spans", "token-classification": "entities"}


def default_bounds(
    task: str, config: Mapping[str, Any] | None, precision: str, *, has_labels: bool, has_rows: bool = False
) -> Bounds:
    """The bounds by metric for a variant of this precision; `has_rows`: a dataset has recordings or pictures."""
    column = judged_as(precision)
    drop = {"accuracy_drop": ACCURACY_DROP[column]} if has_labels else {}
    kind = row_kind(task, config) or (file_kind(task) if has_rows else None)
    over_rows = row_bounds(kind, column) if kind is not None else {}
    return {**THRESHOLDS[table_of(task, config)][column], **over_rows, **drop}


def is_default(metric: str, bound: float | str, precision: str) -> bool:
    """Whether a bound is the default of any row of `THRESHOLDS` for a variant of this precision."""
    column = judged_as(precision)
    known = any(row[column].get(metric) == bound for row in THRESHOLDS.values())
    return known or is_default_of_rows(metric, bound, precision)


def is_default_of_rows(metric: str, bound: float | str, precision: str) -> bool:
    """Whether a bound is a default over rows for any kind of model and a variant of this precision."""
    column = judged_as(precision)
    return any(row_bounds(kind, column).get(metric) == bound for kind in ROW_BOUNDS)


def is_within(metric: str, value: float, bound: float) -> bool:
    """Whether a value is within a bound. NaN is within none."""
    return value >= bound if side_of(metric) == "min" else value <= bound


def is_worse(metric: str, value: float, than: float) -> bool:
    """Whether one value of a metric is worse than another."""
    return value < than if side_of(metric) == "min" else value > than


def side_of(metric: str) -> Side:
    """The side of a metric's bound; an unknown metric is bounded from above."""
    known = METRICS.get(metric)
    return known.side if known is not None else "max"
