"""Which metrics a validation cannot measure, because its rows say nothing about what is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from onnxbuild.tables.bounds.row_metrics import RowKind
from onnxbuild.tables.tasks import SCORE, TASKS, TEXT
from onnxbuild.tables.thresholds import file_kind, row_kind

LABEL = "label"  # the role of the column that holds the right answer
ROLES_OF_ANSWERS = (LABEL, SCORE, TEXT)


class Missing(NamedTuple):
    """Why a metric is not measured, and what would measure it."""

    why: str
    hint: str


# The column of a dataset that a metric needs, and the kinds of models that it belongs to.
_COLUMNS: Mapping[str, tuple[str, frozenset[RowKind]]] = {
    "accuracy": (LABEL, frozenset({"labels", "pictures"})),
    "accuracy_drop": (LABEL, frozenset({"labels", "pictures"})),
    "top5_accuracy": (LABEL, frozenset({"labels", "pictures"})),
    "pair_spearman": (SCORE, frozenset({"vectors"})),
    "wer": (TEXT, frozenset({"transcripts"})),
    "cer": (TEXT, frozenset({"transcripts"})),
}
# Metrics whose right answers only the rows have that come with onnxbuild.
_OWN_ROWS: Mapping[str, RowKind] = {
    "ndcg": "scores", "answer_f1": "spans", "entity_f1": "entities", "chrf": "rewriting", "rouge_l": "rewriting",
}  # fmt: skip
_WITHOUT_LABELS: Mapping[str, str] = {
    "accuracy": "label_agreement", "top5_accuracy": "top5_agreement", "pair_spearman": "spearman",
    "ndcg": "spearman", "answer_f1": "span_f1", "entity_f1": "entity_agreement", "chrf": "chrf_agreement",
    "rouge_l": "rouge_agreement", "wer": "transcript_wer", "cer": "transcript_cer",
}  # fmt: skip


def why_unmeasured(
    metric: str, task: str, config: Mapping[str, Any] | None, dataset: str, columns: Mapping[str, str]
) -> Missing | None:
    """Why a validation does not measure a metric that compares with right answers; None if it may.

    `dataset`: its name, empty for the rows that come with onnxbuild. `columns`: those that the dataset names.
    """
    if task not in TASKS or metric not in (_COLUMNS.keys() | _OWN_ROWS.keys()):
        return None
    kind = row_kind(task, config) or file_kind(task)
    if kind not in _kinds_of(metric):
        return Missing(f"the task `{task}` has no such metric", "choose a metric of this task")
    if metric in _OWN_ROWS:
        if not dataset:
            return None
        why = f"a dataset says nothing of it, and `{dataset}` replaces the rows that come with onnxbuild"
        return Missing(why, _other(metric, "remove `dataset`"))
    column, _ = _COLUMNS[metric]
    if dataset:
        return None if column in columns else _no_column(metric, f"the dataset `{dataset}` names no", column)
    is_known = kind == "vectors" or (metric != "accuracy_drop" and kind == "labels" and tells_sentiment(config))
    return None if is_known else _no_column(metric, "`validate` names no dataset with a", column)


def _kinds_of(metric: str) -> frozenset[RowKind]:
    return _COLUMNS[metric][1] if metric in _COLUMNS else frozenset({_OWN_ROWS[metric]})


def _no_column(metric: str, why: str, column: str) -> Missing:
    return Missing(f"{why} column `{column}`", _other(metric, f"name a dataset with `columns: {{{column}: …}}`"))


def _other(metric: str, words: str) -> str:
    other = _WITHOUT_LABELS.get(metric)
    return f"{words}; `{other}` compares with the reference" if other else words


def tells_sentiment(config: Mapping[str, Any] | None) -> bool:
    """Whether a model's classes are those of the reviews that come with onnxbuild; an unknown config may have them."""
    if config is None:
        return True
    names = {str(name).casefold() for name in (config.get("id2label") or {}).values()}
    return {"positive", "negative"} <= names <= {"positive", "negative", "neutral"}
