"""Runs both sides on the rows that come with onnxbuild, in batches of similar length."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from onnxbuild.protocol import Tell
from onnxbuild.tables.bounds.row_metrics import RowKind
from onnxbuild.workers.inputs.own_rows import NAME
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.samples import Sample, of_ids, text_limit
from onnxbuild.workers.validate.batches import in_batches
from onnxbuild.workers.validate.by_task.cases import Cases, own_cases
from onnxbuild.workers.validate.by_task.encoded import Encoded, encoded_case
from onnxbuild.workers.validate.by_task.rows_read import Reading
from onnxbuild.workers.validate.by_task.summaries import Summary, summaries
from onnxbuild.workers.validate.compare import Task
from onnxbuild.workers.validate.trial import Sides, tried_stage

_MOST_WORK = 4e12  # tokens × bytes of weights of one side, about half a minute on two cores
_FEWEST = 20  # rows: with fewer, a share of rows says nothing


class _Numbered(Struct, frozen=True, kw_only=True):
    """A row and its place among the cases."""

    place: int
    ids: Sequence[int]
    segments: Sequence[int]


def read_own_rows(
    sides: Sides,
    source: Source,
    kind: RowKind,
    task: Task,
    weights_bytes: int,
    longest: int,
    tell: Tell,
) -> Reading | None:
    """Both sides on these rows; None if the model is too large for them, or the reference refuses one of them."""
    cases = own_cases(kind, source.config)
    limit = min(longest, text_limit(source))
    encoded = [encoded_case(source, case, limit) for case in cases.rows]
    if not all(one.ids for one in encoded):
        return None  # genai saves a tokenizer without words for a checkpoint that has none
    kept = _affordable(encoded, weights_bytes)
    if kept is None:
        return None
    chosen = Cases(rows=[cases.rows[place] for place in kept]) if len(kept) < len(encoded) else cases
    numbered = [
        _Numbered(place=number, ids=encoded[place].ids, segments=encoded[place].segments)
        for number, place in enumerate(kept)
    ]
    rows = [] if kind == "rewriting" else _summarized(sides, source, kind, task, numbered, tell)
    if rows is None:
        return None
    found = [encoded[place] for place in kept]
    return Reading(name=NAME, kind=kind, cases=chosen, encoded=found, rows=rows, of=len(encoded))


def _affordable(encoded: Sequence[Encoded], weights_bytes: int) -> list[int] | None:
    """The places of the rows that a model of this size reads in good time, all of them for most models.

    Pairs and rankings need all rows. None if too few are left.
    """
    tokens = sum(len(one.ids) for one in encoded)
    share = _MOST_WORK / max(1.0, float(tokens) * weights_bytes)
    if share >= 1:
        return list(range(len(encoded)))
    wanted = int(len(encoded) * share)
    return None if wanted < _FEWEST else [number * len(encoded) // wanted for number in range(wanted)]


def _summarized(
    sides: Sides,
    source: Source,
    kind: RowKind,
    task: Task,
    numbered: Sequence[_Numbered],
    tell: Tell,
) -> list[Summary] | None:
    stage = next((one for one in ("forward", "prefill") if one in sides.stages), None)
    if stage is None:
        return None
    found: dict[int, Summary] = {}
    batches = list(in_batches(sorted(numbered, key=lambda row: len(row.ids)), source))
    for number, batch in enumerate(batches):
        sample = _sample(source, batch, number)
        tell(f"comparing {sample.label}", number, len(batches))
        outputs = tried_stage(sides, stage, sample, task)
        if outputs is None:
            return None
        rows = summaries(kind, stage, sample, *outputs)
        found |= {row.place: summary for row, summary in zip(batch, rows, strict=False)}
    return [found[place] for place in sorted(found)]


def _sample(source: Source, batch: Sequence[_Numbered], number: int) -> Sample:
    label = f"{NAME}, batch {number + 1} ({len(batch)} rows of {len(batch[-1].ids)} tokens)"
    rows, segments = [row.ids for row in batch], [row.segments for row in batch]
    return of_ids(source, rows, label=label, number=number, segments=segments)
