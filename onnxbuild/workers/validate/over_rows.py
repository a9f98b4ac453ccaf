"""The metrics over rows of a validation: of a dataset, or of what comes with onnxbuild."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnxbuild.protocol import Tell
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.bounds.row_metrics import RowKind
from onnxbuild.workers.folders.model_files import bytes_below
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.validate.by_task.measuring import measured
from onnxbuild.workers.validate.by_task.reading import read_own_rows
from onnxbuild.workers.validate.by_task.row_evidence import RowEvidence, gathered
from onnxbuild.workers.validate.compare import Task
from onnxbuild.workers.validate.labelled_rows import Answers
from onnxbuild.workers.validate.lengths import limit_of
from onnxbuild.workers.validate.of_files.reading_files import READ_FROM_FILES, read_files
from onnxbuild.workers.validate.trial import Sides


def over_rows(
    sides: Sides,
    source: Source,
    params: ValidateParams,
    task: Task,
    kind: RowKind | None,
    answers: Answers,
    inputs: Mapping[str, Path],
    progress: Tell,
) -> RowEvidence:
    """The evidence of a model that decides something about rows of this kind; nothing for any other one."""
    weights = bytes_below(inputs["reference"])
    if kind in READ_FROM_FILES:
        files = read_files(sides, source, kind, params, task, inputs.get(PORT), weights, progress)
        return gathered(files.reading, files.measured, params) if files is not None else RowEvidence()
    if kind is None:
        return RowEvidence()
    reading = answers.reading(params.dataset)
    if reading is None:
        longest = limit_of(source, params.longest)
        reading = read_own_rows(sides, source, kind, task, weights, longest, progress)
    found = list(measured(reading, sides, source, weights)) if reading is not None else []
    return gathered(reading, found, params)
