"""validate: runs a variant and its reference on the same samples, and fails if they differ too much."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.thresholds import Bounds, file_kind
from onnxbuild.workers.engines.compiled.open_variant import executed, open_variant, why_skipped
from onnxbuild.workers.engines.loading import some_of
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.engines.timing import versions
from onnxbuild.workers.engines.torch_engine import TorchModel, open_reference
from onnxbuild.workers.folders.model_files import bytes_below
from onnxbuild.workers.inputs.picture_sizes import frees_size, other_picture
from onnxbuild.workers.inputs.sample_source import Source, open_source
from onnxbuild.workers.inputs.samples import Sample, probes, shaped
from onnxbuild.workers.libraries.remote_code import with_its_code
from onnxbuild.workers.validate.beside_graph import differences
from onnxbuild.workers.validate.bounds import broken_bounds, fitting_bounds, row_of
from onnxbuild.workers.validate.by_task.cases import kind_of
from onnxbuild.workers.validate.compare import Record, Task
from onnxbuild.workers.validate.draws import drawing_operators
from onnxbuild.workers.validate.extent import Judge, Partly, tried_below
from onnxbuild.workers.validate.labelled_rows import Answers, batches_of
from onnxbuild.workers.validate.lengths import Chosen, chosen, limit_of, of_length
from onnxbuild.workers.validate.of_files.reading_files import READ_FROM_FILES
from onnxbuild.workers.validate.over_rows import over_rows
from onnxbuild.workers.validate.remembered import Remembered, identity_of
from onnxbuild.workers.validate.sanity.amounts import other_amounts
from onnxbuild.workers.validate.sanity.every_token import other_embeddings
from onnxbuild.workers.validate.sanity.without_text import without_text
from onnxbuild.workers.validate.trial import Sides, Trial, tried, tried_chosen
from onnxbuild.workers.validate.worst import Worst, by_output, worst_of


@with_its_code
def run(params: ValidateParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Compare, write `validation.json`, and return the worst of each metric.

    Errors: CheckFailed OBE04 if a bound is broken or outputs differ in name or shape, OBE06 for NaN and Inf, OBE86 if
    the variant holds for the shapes that were asked for, and not for those that the model makes likely, OBE89 if a
    bound is broken and the graph draws random values, OBE110 and OBE111 if the tokenizer or the names of labels beside
    the graph are others, OBE145 if outputs have another size, OBE146 if the
    graph has another embedding of a token, OBE147 if a config beside it has another setting.
    """
    lacking = why_skipped(inputs["model"], params.runtime)
    if lacking is not None:
        return _skipped(lacking, outputs)
    # The runner sets the worker's share of the cores; torch's own count may be that of an earlier benchmark.
    threads = int(os.environ.get("OMP_NUM_THREADS") or usable_cores())
    progress("loading the variant and the reference")
    sides, warnings = _open_sides(params, inputs, threads)
    trust = params.trusts_code
    source = open_source(inputs["model"], sides.variant, params.task, seed=params.seed, trusts_code=trust)
    independent = source.config.get("problem_type") == "multi_label_classification"
    row = row_of(params.task, sides.variant)
    task = Task(table=row, independent=independent)
    kind = file_kind(params.task) or kind_of(params.task, row, source)
    reads_text = PORT in inputs and kind not in READ_FROM_FILES
    answers = Answers(batches_of(inputs[PORT], source, params) if reads_text else (), kind)
    samples = _samples(source, params, answers.samples)
    given = [tried(sides, one, task, answers) for one in _told(samples, progress)]
    lengths = chosen(source, bytes_below(inputs["reference"]), params.longest)
    trials = list(filter(None, (tried_chosen(sides, one, task) for one in _told(_chosen(source, lengths), progress))))
    trials += _longest(sides, source, task, lengths, [*given, *trials])
    records = [record for trial in (*given, *trials) for record in trial.records]
    found = over_rows(sides, source, params, task, kind, answers, inputs, progress)
    worst = _worst(given) | found.worst() | answers.worst(params.dataset)
    bounds = {**fitting_bounds(params, row, worst), **found.limits(params)}
    beside = differences(source, inputs["reference"], params.longest, trusts_code=trust)
    beyond = broken_bounds(worst, _asked(bounds, params))
    amounts = other_amounts(records, found.scores, table=row, precision=params.precision, written=params.written)
    tables = () if beyond else other_embeddings(sides.variant, sides.reference, params.precision)
    faults = [*beside, *(("", message) for message in beyond), *amounts, *tables]
    broken = [message for _, message in faults]
    partly = None
    if not broken:
        judge = Judge(sides=sides, source=source, task=task, thresholds=bounds, usual=worst)
        partly = judge.partly(given, trials)
        broken = [partly.message] if partly else []
    facts = _facts(params, bounds, source, samples, records, worst, broken) | _circumstances(sides, threads)
    facts |= found.facts(params, bounds)
    warnings += [*found.warnings, *(one["message"] for one in facts.get("undecided", ()))]
    facts |= {"chosen": [trial.sample.label for trial in trials]} if trials else {}
    warnings += [*_unreached(lengths), *without_text(source, params.task)]
    facts |= {"dataset": {"name": params.dataset, **answers.facts()}} if answers.samples else {}
    facts |= {"warnings": warnings} if warnings else {}
    report = {**facts, "records": msgspec.to_builtins(records)}
    (outputs["report"] / "validation.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    if broken and params.on_failure == "fail":
        raise _failure(broken, faults[0][0] if faults else "", sides, partly, facts)
    return facts


def _skipped(lacking: str, outputs: Mapping[str, Path]) -> Facts:
    """The facts of a validation that this machine cannot make: it has neither passed nor failed."""
    facts: Facts = {"skipped": lacking}
    (outputs["report"] / "validation.json").write_bytes(msgspec.json.encode(facts))
    return facts


def _failure(broken: Sequence[str], code: str, sides: Sides, partly: Partly | None, facts: Facts) -> CheckFailed:
    """The failure with its code; `code`: that of a fault that is no broken bound, or empty."""
    notes = [*_notes(broken, sides.reference), *(partly.notes if partly else ())]
    drawing = drawing_operators(sides.variant.folder) if not code else ()
    if drawing:
        message = f"the graph draws random values ({', '.join(drawing)}), and differs in each run: {broken[0]}"
        return CheckFailed("OBE89", message, notes=notes, facts=facts)
    return CheckFailed(code or ("OBE86" if partly else "OBE04"), broken[0], notes=notes, facts=facts)


def _asked(bounds: Bounds, params: ValidateParams) -> Bounds:
    """The bounds, and NaN for one that was written as text and that nothing was measured for: no value is within it."""
    return {**bounds, **{name: math.nan for name in params.texts if name not in bounds}}


def _told(samples: Sequence[Sample], progress: Tell) -> Iterator[Sample]:
    """The samples one by one, each announced before it is compared."""
    for done, sample in enumerate(samples):
        progress(f"comparing {sample.label}", done, len(samples))
        yield sample


def _chosen(source: Source, lengths: Chosen) -> list[Sample]:
    """A sample of each length, the shortest with padding, and one with other pictures."""
    rows = [of_length(source, length, padded=number == 0) for number, length in enumerate(lengths.lengths)]
    return [*rows, other_picture(source)] if frees_size(source.inputs) else rows


def _longest(sides: Sides, source: Source, task: Task, lengths: Chosen, trials: Sequence[Trial]) -> list[Trial]:
    """One more trial where the reference refused the longest of the chosen lengths."""
    wanted, taken = max(lengths.lengths, default=0), max((trial.sample.length for trial in trials), default=0)
    if taken >= wanted:
        return []
    longest = tried_below(sides, source, task, taken=taken, refused=wanted)
    return [] if longest is None else [longest]


def _worst(trials: Sequence[Trial]) -> dict[str, Worst]:
    records = [record for trial in trials for record in trial.records]
    return worst_of(records, [text for trial in trials for text in trial.text])


def _unreached(lengths: Chosen) -> list[str]:
    """Warnings for ways of computing that no sample was long enough to reach."""
    longest = max(lengths.lengths, default=0)
    return [
        f"no sample is longer than {longest} tokens, so what changes after `{name}: {size}` was not compared"
        for name, size in lengths.unreached.items()
    ]


def _open_sides(params: ValidateParams, inputs: Mapping[str, Path], threads: int) -> tuple[Sides, list[str]]:
    variant, warnings = _open_variant(inputs["model"], params, threads)
    reference = open_reference(
        inputs["reference"], params.task, variant, threads=threads, trusts_code=params.trusts_code
    )
    if isinstance(reference, TorchModel):
        reference = Remembered(reference, _identity(reference, variant, inputs["reference"], params, threads))
    return Sides(reference, variant, _shared_stages(variant, reference)), warnings


def _identity(
    reference: TorchModel, variant: OnnxModel, folder: Path, params: ValidateParams, threads: int
) -> list[Any]:
    """What decides what PyTorch computes: the checkpoint, and how it was loaded to be compared with this variant."""
    loaded_by = [type(reference).__name__, type(reference.model).__name__, params.task, params.trusts_code, threads]
    exported_as = [sorted((stage, variant.outputs(stage)) for stage in variant.stages)]
    padding = getattr(getattr(reference.model, "config", None), "pad_token_id", None)
    return [identity_of(folder), loaded_by, exported_as, padding]


def _circumstances(sides: Sides, threads: int) -> dict[str, Any]:
    return {
        "stages": list(sides.stages),
        "reference": sides.reference.name,
        "threads": threads,
        **executed(sides.variant),
        "providers": sides.variant.providers(),
        "versions": versions(),
    }


def _open_variant(folder: Path, params: ValidateParams, threads: int) -> tuple[OnnxModel, list[str]]:
    """The variant on its device, or on the CPU with a warning if the device is missing.

    Errors: CheckFailed OBE43 if the CPU cannot run it either, for example in bf16.
    """
    if params.device is UNSET or params.runtime is not UNSET:
        return open_variant(folder, threads=threads), []
    try:
        return OnnxModel(folder, threads=threads, device=params.device), []
    except CheckFailed as absent:
        if absent.failure.code != "OBE43":
            raise
        try:
            variant = OnnxModel(folder, threads=threads)
        except Exception as error:
            hint = "validate on a machine with CUDA, or set `validate: false` in the model"
            notes = [("cpu", " ".join(str(error).split())), ("hint", hint)]
            raise CheckFailed(
                "OBE43", f"{absent.failure.message}; the CPU has no kernels for it", notes=notes
            ) from error
        return variant, [f"validated on the CPU, which has other kernels: {absent.failure.message}"]


def _notes(broken: Sequence[str], reference: Any) -> list[tuple[str, str]]:
    """The other broken bounds, and the cause if it is known."""
    notes = [("also", other) for other in broken[1:]]
    random = [name for one in getattr(reference, "loads", ()) for name in one.missing]
    if random:
        some = some_of(random)
        notes.append(("cause", f"the checkpoint has no {some}, so PyTorch and the export used random values"))
    return notes


def _shared_stages(variant: OnnxModel, reference: Any) -> tuple[str, ...]:
    """The variant's stages, all of which an ONNX reference must have."""
    if not isinstance(reference, OnnxModel):
        return variant.stages
    missing = [stage for stage in variant.stages if stage not in reference.stages]
    if missing:
        raise CheckFailed("OBE04", f"the reference has no {missing[0]} graph: it has {', '.join(reference.stages)}")
    return variant.stages


def _samples(source: Source, params: ValidateParams, rows: Sequence[Sample]) -> list[Sample]:
    """The requested shapes, then rows of the dataset or else sentences; without text, shapes measure perplexity.

    The shapes are compared even with a dataset, because they test lengths and padding that its rows may lack.
    """
    given = [shaped(source, batch, sequence) for batch, sequence in _shapes(source, params)]
    text = list(rows) or probes(source)
    return given + text if text else [msgspec.structs.replace(sample, probe=True) for sample in given]


def _shapes(source: Source, params: ValidateParams) -> Sequence[tuple[int, int]]:
    """The shapes, cut to what the model takes unless a person wrote them."""
    if params.shapes != ValidateParams().shapes:
        return params.shapes
    limit = limit_of(source, params.longest)
    return tuple(dict.fromkeys((batch, min(sequence, limit)) for batch, sequence in params.shapes))


def _facts(
    params: ValidateParams,
    bounds: Bounds,
    source: Source,
    samples: Sequence[Sample],
    records: Sequence[Record],
    worst: Mapping[str, Worst],
    broken: Sequence[str],
) -> dict[str, Any]:
    return {
        "passed": not broken,
        "failures": list(broken),
        "metrics": {metric: one.value for metric, one in worst.items()},
        "worst_at": {metric: one.where for metric, one in worst.items()},
        "thresholds": dict(bounds),
        "outputs": by_output(records),
        "samples": {
            "batches": len(samples),
            "rows": sum(sample.rows for sample in samples),
            "tokens": sum(sample.tokens for sample in samples),
            "text": _kind_of_text(params, source),
        },
    }


def _kind_of_text(params: ValidateParams, source: Source) -> str:
    if params.dataset and source.reads_text:
        return f"rows of `{params.dataset}`"
    return "sentences" if source.reads_text else "seeded values"
