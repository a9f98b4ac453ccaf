"""One sample through both sides: the reference and the variant, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.failures.exceptions import explain_exception
from onnxbuild.workers.inputs.samples import Sample
from onnxbuild.workers.inputs.stages import Pass, run_stages
from onnxbuild.workers.inputs.token_rows import STEPS
from onnxbuild.workers.validate.compare import Losses, Record, Task, compare, losses
from onnxbuild.workers.validate.labelled_rows import Answers

_MOST_TEXT = 240


class Sides(NamedTuple):
    """What is compared, and the stages in which."""

    reference: Any
    variant: OnnxModel
    stages: tuple[str, ...]


class Trial(Struct, frozen=True, kw_only=True):
    """What one sample gave; `error` is what the variant raised where it should have computed."""

    sample: Sample
    records: Sequence[Record] = ()
    text: Sequence[Losses] = ()
    error: Exception | None = None


def tried(sides: Sides, sample: Sample, task: Task, answers: Answers | None = None) -> Trial:
    """Both sides on one sample, the reference as it was after loading.

    Errors: CheckFailed OBE04 and OBE06 as `compare`, OBE84 if PyTorch fails, OBE90 if the variant's graph does.
    """
    try:
        wanted = _wanted(sides, sample)
    except Exception as error:
        raise _refused(error, sample) from error
    try:
        return _against(sides, sample, wanted, task, answers)
    except CheckFailed:
        raise
    except Exception as error:
        raise _explained(error, sample) from error


def _refused(error: Exception, sample: Sample) -> Exception:
    """The error itself where its message is known, else that the reference does not take its sample."""
    if isinstance(error, CheckFailed) or explain_exception(error, "").code != "OBE99":
        return error
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:_MOST_TEXT]
    hint = "the checkpoint's processor or tokenizer may make other sizes than config.json says: fetch both again"
    return CheckFailed("OBE84", f"PyTorch fails on {sample.label}: {reason}", notes=[("hint", hint)])


def _explained(error: Exception, sample: Sample) -> Exception:
    """The error itself where its message is known, else that the graph does not take what the reference takes."""
    if explain_exception(error, "").code != "OBE99":
        return error
    hint = "the export fixed a size that it should not have: try another exporter, or smaller `shapes`"
    message = f"the graph fails on {sample.label}, which the reference computes"
    return CheckFailed("OBE90", message, notes=[("cause", " ".join(str(error).split())), ("hint", hint)])


def tried_chosen(sides: Sides, sample: Sample, task: Task) -> Trial | None:
    """The same for a sample that nobody asked for: None if the reference refuses it; the variant's error is kept."""
    try:
        wanted = _wanted(sides, sample)
    except Exception:  # noqa: BLE001 - any refusal of any model: there is nothing to compare with
        return None
    try:
        return _against(sides, sample, wanted, task)
    except Exception as error:  # noqa: BLE001 - whatever the runtime raises is the verdict
        return Trial(sample=sample, error=error)


def _wanted(sides: Sides, sample: Sample) -> list[Pass]:
    sides.reference.renew()
    return list(run_stages(sides.reference, sample, sides.stages, steps=STEPS))


def _against(sides: Sides, sample: Sample, wanted: list[Pass], task: Task, answers: Answers | None = None) -> Trial:
    records: list[Record] = []
    text: list[Losses] = []
    variant = run_stages(sides.variant, sample, sides.stages, steps=STEPS)
    for (stage, _, right), (_, _, actual) in zip(wanted, variant, strict=True):
        records += compare(stage, sample, right, actual, task=task)
        if answers is not None:
            answers.count(stage, sample, right, actual)
        if task.table == "generation" and "logits" in actual:
            predicted = losses(stage, sample, right["logits"], actual["logits"])
            text += [predicted] if predicted else []
    return Trial(sample=sample, records=records, text=text)


def tried_stage(
    sides: Sides, stage: str, sample: Sample, task: Task
) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]] | None:
    """The outputs of one stage on both sides; None if the reference refuses the sample.

    Errors: as `tried`.
    """
    sides.reference.renew()
    try:
        wanted = sides.reference.run(stage, sample.feeds)
    except Exception:  # noqa: BLE001 - any refusal of any model: there is nothing to compare with
        return None
    try:
        actual = sides.variant.run(stage, sample.feeds)
        compare(stage, sample, wanted, actual, task=task)
    except CheckFailed:
        raise
    except Exception as error:
        raise _explained(error, sample) from error
    return wanted, actual
