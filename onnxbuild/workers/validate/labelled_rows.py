"""The rows of a dataset as samples for validation, and how often each side decides correctly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.bounds.labels_of_rows import LABEL
from onnxbuild.tables.bounds.row_metrics import RowKind
from onnxbuild.tables.tasks import SCORE, row_columns
from onnxbuild.workers.inputs.dataset_texts import records, text_of
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.samples import Sample, of_ids, text_limit
from onnxbuild.workers.measuring import metrics
from onnxbuild.workers.validate.batches import in_batches
from onnxbuild.workers.validate.by_task.cases import Case, Cases, graded_pairs
from onnxbuild.workers.validate.by_task.encoded import Encoded, encoded_case
from onnxbuild.workers.validate.by_task.given_labels import class_of_label, grade_of
from onnxbuild.workers.validate.by_task.rows_read import Reading
from onnxbuild.workers.validate.by_task.summaries import Summary, summaries
from onnxbuild.workers.validate.worst import Worst

_ROWS_AND_CLASSES = 2  # axes of logits with one decision per row


class Batch(Struct, frozen=True, kw_only=True):
    """Some rows, and the class of each, [rows], if the dataset has labels."""

    sample: Sample
    labels: np.ndarray | None
    cases: Sequence[Case] = ()
    encoded: Sequence[Encoded] = ()


class Answers:
    """The decisions of both sides on the rows of a dataset, counted batch by batch; `samples` are the batches."""

    def __init__(self, batches: Sequence[Batch], kind: RowKind | None = None) -> None:
        """Start with no row counted. What each row gave is kept for the metrics of this kind."""
        self._batches = batches
        self._kind = kind
        self._rows: list[Summary] = []
        self.samples = [batch.sample for batch in batches]
        self._labels = {batch.sample.label: batch.labels for batch in batches}
        self._compared = 0
        self._agreed = 0
        self._labelled = 0
        self._reference_right = 0
        self._variant_right = 0

    def count(
        self, stage: str, sample: Sample, reference: Mapping[str, np.ndarray], variant: Mapping[str, np.ndarray]
    ) -> None:
        """Count the outputs of a stage, if the sample belongs to the dataset and each row has one decision."""
        if self._kind is not None and sample.label in self._labels:
            self._rows += summaries(self._kind, stage, sample, reference, variant)
        logits = reference.get("logits")
        if sample.label not in self._labels or stage != "forward" or logits is None or logits.ndim != _ROWS_AND_CLASSES:
            return
        wanted, actual = metrics.decisions(logits), metrics.decisions(variant["logits"])
        self._compared += len(wanted)
        self._agreed += int((wanted == actual).sum())
        labels = self._labels[sample.label]
        if labels is not None:
            self._labelled += len(wanted)
            self._reference_right += int((wanted == labels).sum())
            self._variant_right += int((actual == labels).sum())

    def reading(self, dataset: str) -> Reading | None:
        """What both sides made of the rows, None if no metrics over rows are measured on them."""
        if self._kind is None or not self._batches:
            return None
        cases = [case for batch in self._batches for case in batch.cases]
        encoded = [one for batch in self._batches for one in batch.encoded]
        return Reading(
            name=f"rows of `{dataset}`",
            kind=self._kind,
            cases=Cases(rows=cases, pairs=graded_pairs(cases)),
            encoded=encoded,
            rows=self._rows,
            of=len(cases),
        )

    def worst(self, dataset: str) -> dict[str, Worst]:
        """`accuracy_drop`, if the dataset has labels."""
        if not self._labelled:
            return {}
        # From the counts: a difference of two rounded shares could exceed a bound that the exact value only reaches.
        value = (self._reference_right - self._variant_right) / self._labelled
        shares = [right / self._labelled for right in (self._reference_right, self._variant_right)]
        where = f"{shares[0]:.4f} to {shares[1]:.4f} on {self._labelled} rows of `{dataset}`"
        return {"accuracy_drop": Worst(value=value, where=where)}

    def facts(self) -> dict[str, Any]:
        """The number of `rows`, and shares of them: `agreement` with the reference, `accuracy` of both with labels."""
        facts: dict[str, Any] = {"rows": sum(sample.rows for sample in self.samples)}
        if self._compared:
            facts["agreement"] = self._agreed / self._compared
        if self._labelled:
            facts["accuracy"] = self._variant_right / self._labelled
            facts["accuracy_reference"] = self._reference_right / self._labelled
        return facts


def batches_of(folder: Path, source: Source, params: ValidateParams) -> list[Batch]:
    """The chosen rows in batches of similar length, each row cut to `params.sequence` tokens.

    Errors: CheckFailed OBE58 if a column or all text is missing, OBE59 if the model reads no text, OBE68 for a
    label that the model does not have.
    """
    if not source.reads_text:
        raise CheckFailed(
            "OBE59",
            "the model reads no text: it has no tokenizer, or takes no `input_ids`",
            notes=[("hint", "validate without a `dataset`")],
        )
    rows = [row for row in _rows(folder, source, params) if row.ids]
    if not rows:
        raise CheckFailed("OBE58", f"no row of dataset `{params.dataset}` has text")
    rows.sort(key=lambda row: len(row.ids))
    batches: list[Batch] = []
    for batch in in_batches(rows, source):
        longest = len(batch[-1].ids)
        sample = of_ids(
            source,
            [row.ids for row in batch],
            label=f"rows of `{params.dataset}`, batch {len(batches) + 1} ({len(batch)} rows of {longest} tokens)",
            number=len(batches),
            segments=[row.encoded.segments for row in batch],
        )
        labels = np.array([row.case.right for row in batch]) if params.reads_labels else None
        cases, encoded = [row.case for row in batch], [row.encoded for row in batch]
        batches.append(Batch(sample=sample, labels=labels, cases=cases, encoded=encoded))
    return batches


class _Row(Struct, frozen=True, kw_only=True):
    case: Case
    encoded: Encoded

    @property
    def ids(self) -> Sequence[int]:
        return self.encoded.ids


def _rows(folder: Path, source: Source, params: ValidateParams) -> Iterator[_Row]:
    roles = row_columns(params.task, params.rows.columns)
    wanted = (*roles, LABEL) if params.reads_labels else roles
    limit = min(params.sequence, text_limit(source))
    found = records(folder, params.rows, wanted, samples=params.samples, seed=params.seed)
    for number, (place, values) in enumerate(found):
        for case in _cases(values, roles, params, source, place, number):
            yield _Row(case=case, encoded=encoded_case(source, case, limit))


def _cases(
    values: Mapping[str, Any], roles: Sequence[str], params: ValidateParams, source: Source, place: str, number: int
) -> list[Case]:
    """A case per row, or two for a graded pair: its texts are embedded one by one."""
    texts = tuple(text_of(values[role], place) for role in roles if role != SCORE)
    if SCORE in roles:
        graded = (number, grade_of(values[SCORE], place))
        return [Case(texts=(text,), graded=graded) for text in texts]
    return [
        Case(texts=texts, right=class_of_label(values[LABEL], source.config, place) if params.reads_labels else None)
    ]
