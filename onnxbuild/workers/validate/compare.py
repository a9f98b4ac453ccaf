"""Compares the outputs of two engines: one value per metric, with the place where it is worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.thresholds import METRICS
from onnxbuild.workers.inputs.samples import Sample
from onnxbuild.workers.inputs.token_rows import STEPS
from onnxbuild.workers.measuring import metrics
from onnxbuild.workers.validate.sanity.amounts import energies, probability_error

LOGITS = frozenset({"logits", "start_logits", "end_logits", "logits_per_image", "logits_per_text"})

# A variant without one of these cannot do its task; an export may leave out others (a pooler). Where the reference has
# logits, its hidden states are others too: they are on the way to the logits.
_REQUIRED = LOGITS | {"last_hidden_state", "token_embeddings", "sentence_embedding"}

# Where the reference has one of these, logits alone do not do its task: a detector has to say where.
_ALWAYS = frozenset({"pred_boxes", "pred_masks", "class_queries_logits", "masks_queries_logits"})
_OF_WHOLE_INPUTS = frozenset({"text_embeds", "image_embeds"})  # required of a model without logits

# Stages whose logits predict the tokens that they are given.
_PREDICTING = frozenset({"forward", "prefill", "decoder", "merged"})

_PAST = "present."


class Record(Struct, frozen=True, kw_only=True):
    """The metrics of one output of one stage on one sample."""

    stage: str
    output: str
    where: str
    rows: int
    values: Mapping[str, float]


class Losses(Struct, frozen=True, kw_only=True):
    """Negative log likelihoods [rows] of the tokens of one probe, from reference and variant."""

    stage: str
    reference: np.ndarray
    variant: np.ndarray


def compare(
    stage: str, sample: Sample, reference: Mapping[str, np.ndarray], variant: Mapping[str, np.ndarray], *, task: Task
) -> list[Record]:
    """A record for each output of the variant. A past that PyTorch lays out differently is proven by the next steps.

    Errors: CheckFailed OBE04 if names or shapes differ, OBE06 if only the variant has a NaN or an infinity.
    """
    reference = aligned(reference, variant)
    if not any(name.startswith(_PAST) for name in reference):
        variant = {name: output for name, output in variant.items() if not name.startswith(_PAST)}
    _check_names(stage, sample, reference, variant)
    records = []
    for name, output in variant.items():
        _check_shape(name, _place(stage, sample), reference[name], output)
        rows = real_rows(name, stage, reference[name], sample)
        pairs = list(zip(rows, real_rows(name, stage, output, sample), strict=True))
        for r, v in pairs:
            _check_finite(name, _place(stage, sample), r, v)
        records.append(_record(stage, name, sample, [(_finite(r), _finite(v)) for r, v in pairs], task))
    return records


def aligned(reference: Mapping[str, np.ndarray], variant: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The reference's outputs, renamed after outputs of the variant that have names of an exporter's own.

    Each of those stands for the first output of its shape, in order, that no output of the variant is named after.
    """
    free = {name: value for name, value in reference.items() if name not in {*variant, *_REQUIRED}}
    named = dict(reference)
    for name in (one for one in variant if one not in reference):
        match = next((one for one, value in free.items() if value.shape == variant[name].shape), None)
        if match is not None:
            named[name] = free.pop(match)
            del named[match]
    return named


class Task(Struct, frozen=True, kw_only=True):
    """What determines the metrics of an output: the `table` of thresholds; `independent` labels (multi-label)."""

    table: str
    independent: bool = False


def real_rows(name: str, stage: str, array: np.ndarray, sample: Sample) -> list[np.ndarray]:
    """An output as arrays [rows, width] without padding: one array, or one per row where widths differ (spans)."""
    array = array.astype(np.float32, copy=False)
    mask = sample.mask
    if array.ndim <= 2:  # noqa: PLR2004 - [batch, width] and [batch]
        array = array.reshape(len(array), -1)
        if mask is not None and name in {"start_logits", "end_logits"}:
            return [row[real][None] for row, real in zip(array, mask.astype(bool), strict=True)]
        return [array]
    if name.startswith("present."):
        array = np.moveaxis(array, -2, 1)
        array = array.reshape(*array.shape[:2], -1)
        mask = None if ".decoder." in name else _mask_of_length(mask, array.shape[1])
    elif stage in {"forward", "prefill", "encoder"}:
        frames = array.shape[1]
        mask = _heard(sample, frames) if mask is None else _mask_of_length(mask, frames, steps=0)
    else:
        mask = None
    return [array[mask.astype(bool)] if mask is not None else array.reshape(-1, array.shape[-1])]


def losses(stage: str, sample: Sample, reference: np.ndarray, variant: np.ndarray) -> Losses | None:
    """How well both predict the tokens of a probe, each from those before it; None if no tokens are predicted."""
    if stage not in _PREDICTING or reference.ndim != 3 or not sample.probe:  # noqa: PLR2004 - batch, tokens, vocabulary
        return None
    decoding = stage in {"decoder", "merged"}
    if not decoding and "input_ids" not in sample.feeds:
        return None  # labels of audio frames, or of parts of pictures
    ids = sample.decoder_ids if decoding else sample.feeds["input_ids"]
    mask = np.ones_like(ids) if decoding or sample.mask is None else sample.mask
    real = (mask[:, 1:] * mask[:, :-1]).astype(bool)
    targets = ids[:, 1:][real]
    if targets.max(initial=0) >= reference.shape[-1]:
        return None  # classes of tokens rather than a vocabulary
    per_engine = [metrics.negative_log_likelihoods(logits[:, :-1][real], targets) for logits in (reference, variant)]
    return Losses(stage=stage, reference=per_engine[0], variant=per_engine[1])


def _record(
    stage: str, name: str, sample: Sample, pairs: Sequence[tuple[np.ndarray, np.ndarray]], task: Task
) -> Record:
    per_pair = [_values(name, reference, variant, task) for reference, variant in pairs]
    weights = [len(reference) for reference, _ in pairs]
    values: dict[str, float] = {}
    for metric in per_pair[0]:
        parts = [part[metric] for part in per_pair]
        if metric in {"max_abs", "cosine_min", "max_probability"}:
            values[metric] = min(parts) if METRICS[metric].side == "min" else max(parts)
        else:
            values[metric] = float(np.average(parts, weights=weights))
    return Record(stage=stage, output=name, where=_place(stage, sample), rows=sum(weights), values=values)


def _values(name: str, reference: np.ndarray, variant: np.ndarray, task: Task) -> dict[str, float]:
    values = {
        "max_abs": metrics.max_abs(reference, variant),
        "mean_abs": metrics.mean_abs(reference, variant),
        "cosine_min": metrics.cosine_min(reference, variant),
        "cosine_mean": metrics.cosine_mean(reference, variant),
        **energies(reference, variant),
    }
    if name in LOGITS:
        values["top1"] = metrics.top1(reference, variant)
        if task.table == "classification" and name == "logits" and reference.shape[-1] > metrics.TOP:
            values["top5"] = metrics.top5(reference, variant)
        if task.table == "classification":
            values["max_probability"] = metrics.max_probability(reference, variant, independent=task.independent)
            if name == "logits":
                values |= probability_error(reference, variant, independent=task.independent)
        if task.table == "generation":
            values["kl_mean"] = metrics.kl_mean(reference, variant)
    return values


def _check_names(
    stage: str, sample: Sample, reference: Mapping[str, np.ndarray], variant: Mapping[str, np.ndarray]
) -> None:
    strange = [name for name in variant if name not in reference]
    required = _ALWAYS | (LOGITS if LOGITS & reference.keys() else _REQUIRED | _OF_WHOLE_INPUTS)
    missing = [name for name in reference if name in required and name not in variant]
    if not strange and not missing:
        return
    faults = [f"output `{missing[0]}` is missing"] if missing else []
    if strange:
        faults.append(f"output `{strange[0]}` is not one of the reference's")
    wanted = [name for name in reference if not name.startswith("present.")]
    differences = ", ".join(faults)
    raise CheckFailed(
        "OBE04",
        f"{differences} ({_place(stage, sample)})",
        notes=[("outputs", ", ".join(f"`{name}`" for name in wanted) + " are the reference's")],
    )


def _check_shape(name: str, place: str, reference: np.ndarray, variant: np.ndarray) -> None:
    if reference.shape != variant.shape:
        raise CheckFailed(
            "OBE04",
            f"output `{name}` has shape {_shape(variant)}, the reference {_shape(reference)} ({place})",
        )


_OVERFLOW = (
    "the cause is an overflow of fp16 (`precision: {dtype: fp16, keep_fp32: auto}` keeps in fp32 what overflows) or"
    " damaged weights; no threshold accepts it"
)


def _check_finite(name: str, place: str, reference: np.ndarray, variant: np.ndarray) -> None:
    if np.isnan(reference).any():
        raise CheckFailed(
            "OBE06",
            f"the reference returns NaN in output `{name}`, {place}: nothing can be compared with it",
            notes=[("hint", "check the checkpoint's weights")],
        )
    if count := metrics.non_finite(reference, variant):
        raise CheckFailed(
            "OBE06",
            f"{count} of {variant.size} values are NaN or infinite where the reference has numbers "
            f"(output `{name}`, {place})",
            notes=[("hint", _OVERFLOW)],
        )


def _finite(array: np.ndarray) -> np.ndarray:
    """The array with zeros for infinities, which are equal on both sides (masks) after `_check_finite`."""
    # Logits of a large vocabulary take hundreds of megabytes: copy them only if there is something to replace.
    finite = np.isfinite(array)
    return array if finite.all() else np.where(finite, array, np.float32(0))


def _mask_of_length(mask: np.ndarray | None, length: int, *, steps: int = STEPS) -> np.ndarray | None:
    """The mask if it has this length, perhaps with some decoded steps added, else None."""
    if mask is None or mask.shape[1] == length:
        return mask
    decoded = length - mask.shape[1]
    if 0 < decoded <= steps:
        return np.concatenate([mask, np.ones((len(mask), decoded), mask.dtype)], axis=1)  # type: ignore[no-any-return]
    return None


def _heard(sample: Sample, frames: int) -> np.ndarray | None:
    """The frames of sound that are no padding: a model makes fewer of them than it reads. None without such a mask."""
    mask = sample.feeds.get("attention_mask")
    if mask is None or "input_features" not in sample.feeds:
        return None
    heard = mask.sum(axis=1) * frames // mask.shape[1]
    return (np.arange(frames)[None] < heard[:, None]).astype(np.int64)  # type: ignore[no-any-return]


def _place(stage: str, sample: Sample) -> str:
    return sample.label if stage == "forward" else f"{sample.label}, {stage}"


def _shape(array: Any) -> str:
    return "×".join(map(str, array.shape))
