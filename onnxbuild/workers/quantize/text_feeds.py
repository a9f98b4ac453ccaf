"""What a model reads while it is quantized: the rows of a dataset, or texts that come with onnxbuild."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from msgspec import structs

from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.calibrate.calibration_texts import CALIBRATION_TEXTS
from onnxbuild.workers.calibrate.feeds import Feeds, feeds_by_file
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.inputs.dataset_texts import texts
from onnxbuild.workers.inputs.sample_source import Source, open_source
from onnxbuild.workers.inputs.samples import Sample, of_ids, single_texts
from onnxbuild.workers.inputs.sentences import SENTENCES

_BATCH = 8  # texts of a padded batch


def text_feeds(
    params: QuantizeParams, inputs: Mapping[str, Path], *, needs_rows: bool, judges: bool = False
) -> Callable[[str], Iterable[Feeds]]:
    """The feeds of each file while the model reads text; the model is opened when the first of them is read.

    `needs_rows`: the text is that of the step's dataset. `judges`: the text on which a search is judged, which is none
    of what it is calibrated with. Errors: CheckFailed OBE59 if the model reads no text.
    """

    def samples(model: OnnxModel) -> Iterator[Sample]:
        trust = params.trusts_code
        source = open_source(inputs["model"], model, "", seed=params.seed, trusts_code=trust, light=True)
        if not source.reads_text:
            raise _reads_no_text(needs_rows=needs_rows)
        read = single_texts(source, _rows(params, inputs, judges=judges), params.sequence)
        if needs_rows or judges:
            yield from read
        else:
            yield from _with_batches((_continued(sample, source) for sample in read), source)

    @cache
    def opened() -> Callable[[str], Iterable[Feeds]]:
        return feeds_by_file(inputs["model"], samples, threads=usable_cores())

    def feeds(name: str) -> Iterator[Feeds]:
        yield from opened()(name)

    return feeds


def _rows(params: QuantizeParams, inputs: Mapping[str, Path], *, judges: bool) -> Iterable[str]:
    """The rows of the dataset: all, or where a search reads it every second one for each of its two purposes."""
    if PORT not in inputs:
        return (SENTENCES if judges else CALIBRATION_TEXTS)[: params.samples]
    rows = texts(inputs[PORT], params.rows, samples=params.samples, seed=params.seed)
    return islice(rows, int(judges), None, 2) if params.searches else rows


def _with_batches(singles: Iterable[Sample], source: Source) -> Iterator[Sample]:
    """The samples, and after every eighth the last eight as one padded batch.

    What a model computes at padding is masked, but dynamic int8 takes its range from it too: scales that never saw it
    make it worse (MiniLM, padded batches: a cosine of 0.963 instead of 0.990).
    """
    rows: list[list[int]] = []
    for number, sample in enumerate(singles):
        yield sample
        rows.append(sample.feeds["input_ids"][0].tolist())
        if len(rows) == _BATCH:
            if not source.even:
                yield of_ids(source, rows, label=f"batch {number}", number=number)
            rows = []


def _continued(sample: Sample, source: Source) -> Sample:
    """The sample with its own text as what the decoder of an encoder-decoder writes: all others have one prefix."""
    ids = sample.feeds["input_ids"]
    if source.causal or ids.shape[1] < 2:  # noqa: PLR2004 - a prefix and one more token
        return sample
    start = source.config.get("decoder_start_token_id")
    prefix = ids[:, :-1] if start is None else np.concatenate([np.full_like(ids[:, :1], start), ids[:, :-2]], axis=1)
    return structs.replace(sample, decoder_ids=prefix, step_ids=ids[:, -1:])


def _reads_no_text(*, needs_rows: bool) -> CheckFailed:
    hint = "`quantize: {method: dynamic}` needs no data" if needs_rows else "write `smooth: off`"
    message = "the model reads no text: it has no tokenizer, or takes no `input_ids`"
    return CheckFailed("OBE59", message, notes=[("hint", hint)])
