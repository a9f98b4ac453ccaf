"""What is kept of each row's outputs, on both sides: logits of classes, a vector, a span, classes of tokens, losses.

Outputs of a batch can take hundreds of megabytes, so each batch is reduced as soon as it has run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from onnxbuild.tables.bounds.row_metrics import RowKind
from onnxbuild.workers.inputs.samples import Sample
from onnxbuild.workers.measuring import metrics

Arrays = Mapping[str, np.ndarray]

_FIRST_STAGES = frozenset({"forward", "prefill"})
_ROWS_AND_WIDTH = 2
_VECTORS = ("sentence_embedding", "text_embeds", "pooler_output")  # of a whole text, before the mean over tokens


class Summary(Struct, frozen=True, kw_only=True):
    """What one row gave: the reference's part and the variant's; their form depends on the kind of model."""

    reference: Any
    variant: Any


class Tokens(Struct, frozen=True, kw_only=True):
    """A row of a language model: how many tokens it predicts, and sums over them."""

    count: int
    agreeing: int
    divergence: float
    loss_reference: float
    loss_variant: float


def summaries(kind: RowKind, stage: str, sample: Sample, reference: Arrays, variant: Arrays) -> list[Summary]:
    """One per row of the batch; none for a stage that decides nothing, or where an output is missing."""
    if stage not in _FIRST_STAGES:
        return []
    if kind == "language":
        return _of_language(sample, reference, variant)
    sides = [_SIDES[kind](sample, outputs, variant) for outputs in (reference, variant)]
    if sides[0] is None or sides[1] is None:
        return []
    return [Summary(reference=one, variant=other) for one, other in zip(*sides, strict=True)]


def _logits(_sample: Sample, outputs: Arrays, _variant: Arrays) -> list[np.ndarray] | None:
    logits = outputs.get("logits")
    if logits is None or logits.ndim != _ROWS_AND_WIDTH:
        return None
    return list(logits.astype(np.float32))


def _vectors(sample: Sample, outputs: Arrays, variant: Arrays) -> list[np.ndarray] | None:
    """The output for a whole text that both sides have, else the mean over the last hidden states of real tokens."""
    name = next((one for one in _VECTORS if one in variant and one in outputs), None)
    if name is not None:
        return list(outputs[name].astype(np.float32))
    states = outputs.get("last_hidden_state")
    if states is None or sample.mask is None or states.shape[:2] != sample.mask.shape:
        return None
    weights = sample.mask[:, :, None]
    return list((states.astype(np.float32) * weights).sum(axis=1) / weights.sum(axis=1))


def _spans(sample: Sample, outputs: Arrays, _variant: Arrays) -> list[np.ndarray] | None:
    """The logits of start and end, [2, tokens] per row."""
    names = ("start_logits", "end_logits")
    if any(name not in outputs for name in names) or sample.mask is None:
        return None
    both = np.stack([outputs[name].astype(np.float32) for name in names], axis=1)
    return [row[:, real] for row, real in zip(both, sample.mask.astype(bool), strict=True)]


def _classes(sample: Sample, outputs: Arrays, _variant: Arrays) -> list[np.ndarray] | None:
    """The class of each real token."""
    logits = outputs.get("logits")
    if logits is None or sample.mask is None or logits.shape[:2] != sample.mask.shape:
        return None
    decided = logits.argmax(axis=-1)
    return [row[real] for row, real in zip(decided, sample.mask.astype(bool), strict=True)]


_SIDES = {"labels": _logits, "scores": _logits, "vectors": _vectors, "spans": _spans, "entities": _classes}


def _of_language(sample: Sample, reference: Arrays, variant: Arrays) -> list[Summary]:
    ids, mask = sample.feeds["input_ids"], sample.mask
    logits = [outputs.get("logits") for outputs in (reference, variant)]
    if mask is None or any(one is None or one.shape[:2] != mask.shape for one in logits):
        return []
    rows = []
    for number, real in enumerate(mask.astype(bool)):
        wanted, actual = (one[number][real][:-1].astype(np.float32) for one in logits if one is not None)
        rows.append(Summary(reference=None, variant=_tokens(wanted, actual, ids[number][real][1:])))
    return rows


def _tokens(wanted: np.ndarray, actual: np.ndarray, targets: np.ndarray) -> Tokens:
    if not len(targets) or targets.max() >= wanted.shape[-1]:
        return Tokens(count=0, agreeing=0, divergence=0.0, loss_reference=0.0, loss_variant=0.0)
    losses = [float(metrics.negative_log_likelihoods(one, targets).sum()) for one in (wanted, actual)]
    return Tokens(
        count=len(targets),
        agreeing=int((metrics.decisions(wanted) == metrics.decisions(actual)).sum()),
        divergence=metrics.kl_mean(wanted, actual) * len(targets),
        loss_reference=losses[0],
        loss_variant=losses[1],
    )
