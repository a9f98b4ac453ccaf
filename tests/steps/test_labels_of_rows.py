"""Which metrics a validation has no right answers for."""

from __future__ import annotations

import pytest

from onnxbuild.tables.bounds.labels_of_rows import why_unmeasured
from onnxbuild.tables.thresholds import METRICS

SENTIMENT = {"id2label": {"0": "Negative", "1": "positive"}}
ANIMALS = {"id2label": {"0": "cat", "1": "dog"}}
CLASSES, VECTORS, SPEECH = "text-classification", "feature-extraction", "automatic-speech-recognition"


@pytest.mark.parametrize(
    ("metric", "task", "config", "dataset", "columns", "why"),
    [
        ("accuracy", CLASSES, SENTIMENT, "", {}, None),  # reviews come with onnxbuild
        ("accuracy", CLASSES, None, "", {}, None),  # the config may have these classes
        ("accuracy", CLASSES, ANIMALS, "", {}, "`validate` names no dataset with a column `label`"),
        ("accuracy", CLASSES, SENTIMENT, "own", {}, "the dataset `own` names no column `label`"),
        ("accuracy", CLASSES, {}, "own", {"label": "class"}, None),
        ("accuracy_drop", CLASSES, SENTIMENT, "", {}, "`validate` names no dataset with a column `label`"),
        ("accuracy", "image-classification", {}, "", {}, "`validate` names no dataset with a column `label`"),
        ("accuracy", VECTORS, {}, "own", {"label": "class"}, f"the task `{VECTORS}` has no such metric"),
        ("ndcg", CLASSES, {"id2label": {"0": "score"}}, "", {}, None),
        (
            "ndcg", CLASSES, {"id2label": {"0": "score"}}, "own", {},
            "a dataset says nothing of it, and `own` replaces the rows that come with onnxbuild",
        ),
        ("pair_spearman", VECTORS, {}, "", {}, None),
        ("pair_spearman", VECTORS, {}, "own", {"score": "how"}, None),
        ("wer", SPEECH, {}, "own", {}, "the dataset `own` names no column `text`"),
        ("wer", SPEECH, {}, "own", {"text": "said"}, None),
        ("cosine_mean", CLASSES, {}, "own", {}, None),
        ("accuracy", "a task of a plugin", {}, "own", {}, None),
    ],
)  # fmt: skip
def test_a_metric_needs_its_right_answers(metric, task, config, dataset, columns, why):
    found = why_unmeasured(metric, task, config, dataset, columns)
    assert (found.why if found else None) == why


def test_every_metric_with_right_answers_is_known():
    """A new metric that compares with labels needs a row in this table."""
    of_labels = {name for name, metric in METRICS.items() if metric.both_sides}
    unknown = {name for name in of_labels if why_unmeasured(name, "fill-mask", {}, "", {}) is None}
    assert unknown == set()
