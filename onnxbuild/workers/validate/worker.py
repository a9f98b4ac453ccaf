"""validate: runs a variant and its reference on the same samples, and fails where they differ too much."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.tasks import ThresholdRow, is_speech_to_text
from onnxbuild.tables.thresholds import METRICS, is_within, table_of
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.engines.timing import versions
from onnxbuild.workers.engines.torch_engine import open_reference
from onnxbuild.workers.inputs.samples import Sample, Source, open_source, probes, shaped
from onnxbuild.workers.inputs.stages import run_stages
from onnxbuild.workers.libraries.remote_code import with_its_code
from onnxbuild.workers.validate.compare import Losses, Record, Task, Worst, by_output, compare, losses, worst_of
from onnxbuild.workers.validate.labelled_rows import Answers, batches_of


@with_its_code
def run(params: ValidateParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Compare, write `validation.json`, and return the worst of each metric.

    Errors: CheckFailed OBE04 where a bound is broken or outputs differ in name or shape, OBE06 for NaN and Inf.
    """
    # The runner tells a worker its share of the cores so; a benchmark before in this process changed torch's own count.
    threads = int(os.environ.get("OMP_NUM_THREADS") or usable_cores())
    progress("loading the variant and the reference")
    variant, warnings = _open_variant(inputs["model"], params, threads)
    trust = params.trusts_code
    reference = open_reference(inputs["reference"], params.task, variant, threads=threads, trusts_code=trust)
    stages = _shared_stages(variant, reference)
    source = open_source(inputs["model"], variant, params.task, seed=params.seed, trusts_code=trust)
    answers = Answers(batches_of(inputs[PORT], source, params) if PORT in inputs else ())
    samples = _samples(source, params, answers.samples)
    task = Task(
        table=_table(params.task, variant),
        independent=source.config.get("problem_type") == "multi_label_classification",
    )
    records: list[Record] = []
    text: list[Losses] = []
    for done, sample in enumerate(samples):
        progress(f"comparing {sample.label}", done, len(samples))
        found, predicted = _compare_sample(reference, variant, sample, stages, task, answers)
        records += found
        text += predicted
    worst = worst_of(records, text) | answers.worst(params.dataset)
    broken = broken_bounds(worst, params.thresholds)
    of_dataset = {"dataset": {"name": params.dataset, **answers.facts()}} if answers.samples else {}
    facts = (
        _facts(params, source, samples, records, worst, broken)
        | of_dataset
        | {
            "stages": list(stages),
            "reference": reference.name,
            "threads": threads,
            "providers": variant.providers(),
            "versions": versions(),
        }
        | ({"warnings": warnings} if warnings else {})
    )
    report = {**facts, "records": msgspec.to_builtins(records)}
    (outputs["report"] / "validation.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    if broken and params.on_failure == "fail":
        raise CheckFailed("OBE04", broken[0], notes=_notes(broken, reference), facts=facts)
    return facts


def _open_variant(folder: Path, params: ValidateParams, threads: int) -> tuple[OnnxModel, list[str]]:
    """The variant on its device, or where that is not here on the CPU, and what is to be said of that.

    Errors: CheckFailed OBE43 where the CPU cannot run it either, as graphs in bf16.
    """
    if params.device is UNSET:
        return OnnxModel(folder, threads=threads), []
    try:
        return OnnxModel(folder, threads=threads, device=params.device), []
    except CheckFailed as absent:
        if absent.failure.code != "OBE43":
            raise
        try:
            variant = OnnxModel(folder, threads=threads)
        except Exception as error:
            hint = "validate on a machine with CUDA; `validate: false` in the model leaves it to whoever has one"
            said = " ".join(str(error).split())
            notes = [("cpu", said), ("hint", hint)]
            raise CheckFailed(
                "OBE43", f"{absent.failure.message}; the CPU has no kernels for it", notes=notes
            ) from error
        return variant, [f"validated on the CPU, whose kernels are others: {absent.failure.message}"]


def _table(task: str, variant: OnnxModel) -> ThresholdRow:
    """The row of thresholds; a speech model of one graph names a letter for each frame, and predicts no next token."""
    hears_at_once = variant.stages == ("forward",) and "input_ids" not in variant.inputs("forward")
    return "classification" if is_speech_to_text(task) and hears_at_once else table_of(task)


def broken_bounds(worst: Mapping[str, Worst], thresholds: Mapping[str, float]) -> list[str]:
    """What a person is told of each metric outside its bound; a bound on what was not measured is broken, too."""
    told = []
    for metric, bound in thresholds.items():
        if metric not in worst:
            told.append(f"`{metric}` is bounded by {bound:g}, but this model has no output that it can be taken of")
            continue
        value = worst[metric].value
        if not is_within(metric, value, bound):
            beyond = "below" if METRICS[metric].side == "min" else "above"
            told.append(f"`{metric}` is {_distinct(value, bound)}, {beyond} {bound:g} ({worst[metric].where})")
    return told


def _distinct(value: float, bound: float) -> str:
    """The value with three digits, or as many more as it takes to stand on its side of the bound."""
    for digits in range(3, 17):
        shown = float(text := f"{value:.{digits}g}")
        if shown != bound and (shown < bound) == (value < bound):
            return text
    return repr(value)


def _notes(broken: Sequence[str], reference: Any) -> list[tuple[str, str]]:
    """The other broken bounds, and what is known of the cause."""
    notes = [("also", other) for other in broken[1:]]
    random = getattr(reference, "random_weights", ())
    if random:
        some = ", ".join(f"`{name}`" for name in random[:3]) + (f" and {len(random) - 3} more" if random[3:] else "")
        notes.append(("cause", f"the checkpoint has no {some}, so PyTorch and the export made up their own"))
    return notes


def _compare_sample(
    reference: Any, variant: OnnxModel, sample: Sample, stages: tuple[str, ...], task: Task, answers: Answers
) -> tuple[list[Record], list[Losses]]:
    records: list[Record] = []
    text: list[Losses] = []
    for stage, wanted, found in _together(reference, variant, sample, stages):
        records += compare(stage, sample, wanted, found, task=task)
        answers.count(stage, sample, wanted, found)
        if task.table == "generation" and "logits" in found:
            predicted = losses(stage, sample, wanted["logits"], found["logits"])
            text += [predicted] if predicted else []
    return records, text


def _together(
    reference: Any, variant: OnnxModel, sample: Sample, stages: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]]:
    passes = zip(run_stages(reference, sample, stages), run_stages(variant, sample, stages), strict=True)
    for (stage, _, wanted), (_, _, found) in passes:
        yield stage, wanted, found


def _shared_stages(variant: OnnxModel, reference: Any) -> tuple[str, ...]:
    """The variant's stages; a reference that is ONNX must have them all."""
    if not isinstance(reference, OnnxModel):
        return variant.stages
    missing = [stage for stage in variant.stages if stage not in reference.stages]
    if missing:
        raise CheckFailed("OBE04", f"the reference has no {missing[0]} graph: it has {', '.join(reference.stages)}")
    return variant.stages


def _samples(source: Source, params: ValidateParams, rows: Sequence[Sample]) -> list[Sample]:
    """The shapes that were asked for, and rows of text, else the sentences; without any perplexity is taken on shapes.

    The shapes stay beside a dataset: they try the lengths and the padding that its rows may lack.
    """
    given = [shaped(source, batch, sequence) for batch, sequence in params.shapes]
    text = list(rows) or probes(source)
    return given + text if text else [msgspec.structs.replace(sample, probe=True) for sample in given]


def _facts(
    params: ValidateParams,
    source: Source,
    samples: Sequence[Sample],
    records: Sequence[Record],
    worst: Mapping[str, Worst],
    broken: Sequence[str],
) -> dict[str, Any]:
    return {
        "passed": not broken,
        "failures": list(broken),
        "metrics": {metric: found.value for metric, found in worst.items()},
        "worst_at": {metric: found.where for metric, found in worst.items()},
        "thresholds": dict(params.thresholds),
        "outputs": by_output(records),
        "samples": {
            "batches": len(samples),
            "rows": sum(sample.rows for sample in samples),
            "tokens": sum(sample.tokens for sample in samples),
            "text": f"rows of `{params.dataset}`"
            if params.dataset
            else "sentences"
            if source.reads_text
            else "seeded values",
        },
    }
