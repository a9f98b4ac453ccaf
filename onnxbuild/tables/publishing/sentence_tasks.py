"""The tasks of models that sentence-transformers loads, and what the Hub calls each of the two kinds."""

from __future__ import annotations

from onnxbuild.tables.tasks import proper_name

_EMBEDDERS = frozenset({"feature-extraction", "sentence-similarity"})
_CROSS_ENCODERS = frozenset({"text-classification"})

FOR_EMBEDDERS, FOR_CROSS_ENCODERS = "feature-extraction", "text-classification"  # what to write in a manifest


def is_embedder_task(task: str) -> bool:
    """Whether the models of a task give vectors of texts."""
    return proper_name(task) in _EMBEDDERS


def is_cross_encoder_task(task: str) -> bool:
    """Whether the models of a task score texts or pairs of them."""
    return proper_name(task) in _CROSS_ENCODERS


def pipeline_tag(task: str) -> str:
    """What the Hub calls the task of a package."""
    return "sentence-similarity" if is_embedder_task(task) else "text-ranking"
