"""Runs both sides on recordings or pictures, one by one, so that nothing is padded, and measures what they decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.bounds.row_metrics import RowKind
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.samples import Sample
from onnxbuild.workers.validate.by_task.cases import Case, Cases
from onnxbuild.workers.validate.by_task.decided import of_labels
from onnxbuild.workers.validate.by_task.measured import Measured
from onnxbuild.workers.validate.by_task.measuring import lacking
from onnxbuild.workers.validate.by_task.rows_read import Reading
from onnxbuild.workers.validate.by_task.summaries import Summary
from onnxbuild.workers.validate.compare import Task
from onnxbuild.workers.validate.of_files.error_rates import of_transcripts
from onnxbuild.workers.validate.of_files.media_rows import media_rows
from onnxbuild.workers.validate.of_files.processed import Processor, has_processor, picture_of
from onnxbuild.workers.validate.of_files.recordings import decoded, seeded_sounds
from onnxbuild.workers.validate.of_files.transcribed import MOST_TOKENS, habits_of, spelled, text_of, written
from onnxbuild.workers.validate.trial import Sides, tried_stage

READ_FROM_FILES: frozenset[RowKind | None] = frozenset({"pictures", "transcripts"})
SOUNDS = "seeded sounds, which are no speech"
_SOUNDS = 20
_FEWEST_SOUNDS = 3
_MOST_WORK = 4e12  # frames × bytes of weights of one side, as for rows of text
_FRAMES_OF_A_SOUND = {"forward": 150, "encoder": 1500}  # 20 ms each; Whisper hears half a minute in any case
_TOKENS_OF_A_SOUND = 16

Tell = Callable[[str], None]


class FilesRead(Struct, frozen=True, kw_only=True):
    """The rows that both sides have read, and what was measured on them."""

    reading: Reading
    measured: Sequence[Measured]


def read_files(
    sides: Sides,
    source: Source,
    kind: RowKind | None,
    params: ValidateParams,
    task: Task,
    rows: Path | None,
    weights: int,
    tell: Tell,
) -> FilesRead | None:
    """The metrics over the rows of a dataset, or over seeded sounds; None where there is nothing to read.

    Errors: those of `media_rows`, `decoded`, `picture_of` and `Processor`.
    """
    reader = Reader(sides=sides, source=source, task=task, tell=tell)
    if kind == "pictures":
        return _pictures(reader, params, rows) if rows is not None else None
    if rows is None:
        return _sounds(reader, params, weights)
    return _speech(reader, params, rows)


class Reader(Struct, frozen=True, kw_only=True):
    """Both sides, the model's files, and the function that reports progress."""

    sides: Sides
    source: Source
    task: Task
    tell: Tell


def _pictures(reader: Reader, params: ValidateParams, folder: Path) -> FilesRead:
    processor = Processor(reader.source, hears=False, trusts_code=params.trusts_code)
    cases, found = [], []
    for row in media_rows(folder, params, reader.source.config):
        sample = processor.seen(picture_of(row.content, row.place), f"the picture of {row.place}")
        wanted, actual = _logits(reader, sample)
        cases.append(Case(texts=(), right=row.right))
        found.append(Summary(reference=wanted[0], variant=actual[0]))
    reading = _reading("pictures", f"pictures of `{params.dataset}`", cases)
    independent = reader.task.independent
    return FilesRead(reading=reading, measured=list(of_labels(reading.cases, found, independent=independent)))


def _speech(reader: Reader, params: ValidateParams, folder: Path) -> FilesRead:
    processor = Processor(reader.source, hears=True, trusts_code=params.trusts_code)
    rights = []

    def samples() -> Iterator[Sample]:
        for row in media_rows(folder, params, reader.source.config):
            rights.append(row.right)
            yield processor.heard(decoded(row.content, processor.rate, row.place), f"the recording of {row.place}")

    texts = _transcripts(reader, samples(), MOST_TOKENS)
    return _heard(texts, rights, f"recordings of `{params.dataset}`")


def _sounds(reader: Reader, params: ValidateParams, weights: int) -> FilesRead | None:
    """Sounds that come from a seed show whether transcripts agree; how good they are only speech can show."""
    first = next((stage for stage in _FRAMES_OF_A_SOUND if stage in reader.sides.stages), None)
    if first is None or not has_processor(reader.source):
        return None
    count = min(_SOUNDS, int(_MOST_WORK / (_FRAMES_OF_A_SOUND[first] * max(1, weights))))
    if count < _FEWEST_SOUNDS:
        return None
    samples = _sounds_heard(reader, params, count)
    if samples is None:
        return None
    return _heard(_transcripts(reader, iter(samples), _TOKENS_OF_A_SOUND), [None] * count, SOUNDS)


def _sounds_heard(reader: Reader, params: ValidateParams, count: int) -> list[Sample] | None:
    """The sounds as the model's processor gives them; None if the reference takes no such sample: nobody asked for it.

    Some processors cannot be loaded alone, and some models take more than their processor makes of a sound.
    """
    try:
        processor = Processor(reader.source, hears=True, trusts_code=params.trusts_code)
        sounds = seeded_sounds(count, processor.rate, params.seed)
        samples = [processor.heard(sound, f"sound {number}") for number, sound in enumerate(sounds, 1)]
        _text(reader, reader.sides.reference, samples[0], _TOKENS_OF_A_SOUND)
    except Exception:  # noqa: BLE001 - any refusal of any processor or model: there is nothing to compare with
        return None
    return samples


def _text(reader: Reader, side: Any, sample: Sample, most: int) -> str:
    """What one side writes for a recording."""
    reader.sides.reference.renew()
    if "forward" in reader.sides.stages:
        return spelled(side.run("forward", sample.feeds)["logits"].astype(np.float32)[0], reader.source)
    habits = habits_of(reader.source)
    places = reader.source.config.get("max_target_positions") or reader.source.positions
    ids = written(side, sample, reader.sides.stages, habits, min(most, int(places) - 1))
    return text_of(ids, reader.source)


def _heard(texts: Sequence[tuple[str, str]], rights: Sequence[str | None], name: str) -> FilesRead:
    wanted, actual = [one for one, _ in texts], [other for _, other in texts]
    reading = _reading("transcripts", name, [Case(texts=(), right=right) for right in rights])
    known = None if None in rights else [str(right) for right in rights]
    found = [] if lacking("transcripts") else list(of_transcripts(wanted, actual, known))
    return FilesRead(reading=reading, measured=found)


def _transcripts(reader: Reader, samples: Iterator[Sample], most: int) -> list[tuple[str, str]]:
    """What the reference and the variant write for each recording."""
    found = []
    for sample in samples:
        reader.tell(f"comparing {sample.label}")
        found.append(_spelled(reader, sample) if "forward" in reader.sides.stages else _written(reader, sample, most))
    return found


def _written(reader: Reader, sample: Sample, most: int) -> tuple[str, str]:
    wanted, actual = (_text(reader, side, sample, most) for side in reader.sides[:2])
    return wanted, actual


def _spelled(reader: Reader, sample: Sample) -> tuple[str, str]:
    wanted, actual = _logits(reader, sample)
    return spelled(wanted[0], reader.source), spelled(actual[0], reader.source)


def _logits(reader: Reader, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The logits of both sides. Errors: as `tried_stage`; CheckFailed OBE84 if the reference refuses the sample."""
    outputs = tried_stage(reader.sides, "forward", sample, reader.task)
    if outputs is None or "logits" not in outputs[0]:
        raise CheckFailed("OBE84", f"the reference gives no logits for {sample.label}")
    return outputs[0]["logits"].astype(np.float32), outputs[1]["logits"].astype(np.float32)


def _reading(kind: RowKind, name: str, cases: Sequence[Case]) -> Reading:
    return Reading(name=name, kind=kind, cases=Cases(rows=cases), encoded=(), rows=(), of=len(cases))
