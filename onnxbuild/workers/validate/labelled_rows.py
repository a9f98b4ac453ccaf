"""The rows of a dataset as samples for validation, and how often each side decides correctly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.validate import LABEL, ValidateParams
from onnxbuild.tables.bounds.row_metrics import RowKind
from onnxbuild.tables.tasks import row_columns
from onnxbuild.workers.inputs.dataset_texts import records, text_of
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.samples import Sample, of_ids, text_limit
from onnxbuild.workers.validate import metrics
from onnxbuild.workers.validate.batches import in_batches
from onnxbuild.workers.validate.by_task.cases import Case, Cases
from onnxbuild.workers.validate.by_task.encoded import Encoded, encoded_case
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
            cases=Cases(rows=cases),
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
            label=f"rows of `{params.dataset}`, batch {len(batches) + 1} of {len(batch)}×{longest}",
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
    for place, values in records(folder, params.rows, wanted, samples=params.samples, seed=params.seed):
        right = class_of_label(values[LABEL], source.config, place) if params.reads_labels else None
        case = Case(texts=tuple(text_of(values[role], place) for role in roles), right=right)
        yield _Row(case=case, encoded=encoded_case(source, case, limit))


def class_of_label(value: Any, config: Mapping[str, Any], place: str) -> int:
    """The class of a label: its number, or its name in `id2label` of config.json, ignoring case.

    A model with one logit, which decides by its sign, has the classes 0 and 1. Errors: CheckFailed OBE68 otherwise.
    """
    names = {int(key): str(name) for key, name in (config.get("id2label") or _TWO).items()}
    if len(names) == 1:
        names = {0: "0", 1: "1"}
    exact = {name: number for number, name in names.items()}
    folded = {name.casefold(): number for number, name in names.items()}
    text = str(value).strip()
    for known, asked in ((exact, text), (folded, text.casefold())):
        if asked in known and not isinstance(value, bool):
            return known[asked]
    number = _whole(value)
    if number is not None and number in names:
        return number
    shown = list(names.items())[:_FEW]
    listed = ", ".join(f"`{name}`" if name == str(key) else f"`{name}` ({key})" for key, name in shown)
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    raise CheckFailed(
        "OBE68",
        f"{place} has the label `{value}`, which the model does not know",
        notes=[("hint", f"its labels are {listed}{more}")],
    )


_FEW = 8
_TWO: Mapping[str, str] = {"0": "LABEL_0", "1": "LABEL_1"}  # which transformers leaves out of config.json


def _whole(value: Any) -> int | None:
    """A whole number as files write it: 1, 1.0 and "1"; truth values are 0 and 1."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None
