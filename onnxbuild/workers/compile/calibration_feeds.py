"""What a graph reads while the ranges of its tensors are measured for a backend: the rows of a dataset."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.workers.calibrate.calibration_texts import CALIBRATION_TEXTS
from onnxbuild.workers.calibrate.feeds import Feeds, feeds_by_file
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.inputs.dataset_texts import texts
from onnxbuild.workers.inputs.sample_source import open_source
from onnxbuild.workers.inputs.samples import Sample, single_texts
from onnxbuild.workers.inputs.sentences import SENTENCES

_JOINED, _BETWEEN = 8, 4  # texts of a joined one, and after how many texts there is one


def calibration_feeds(
    params: Any, inputs: Mapping[str, Path], *, part: int | None = None, joined: bool = False
) -> Callable[[str], Iterable[Feeds]]:
    """The feeds of each file. `params` has `samples`, `sequence`, `seed` and `rows`, as those of `quantize`.

    Without a dataset, the texts that come with onnxbuild are read. The model is opened when the first feed is read.
    `part`: 0 for what a search calibrates with, and 1 for what it is judged on, which are different texts. `joined`:
    after every fourth text also a long one, of the last eight.
    Errors: CheckFailed OBE59 for a model without text.
    """

    def samples(model: OnnxModel) -> Iterator[Sample]:
        source = open_source(inputs["model"], model, "", seed=params.seed, trusts_code=params.trusts_code, light=True)
        if not source.reads_text:
            message = "the model reads no text: it has no tokenizer, or takes no `input_ids`"
            raise CheckFailed("OBE59", message, notes=[("hint", "compile it without integers")])
        rows = _rows(params, inputs, part)
        yield from single_texts(source, _with_joined(rows) if joined else rows, params.sequence)

    @cache
    def opened() -> Callable[[str], Iterable[Feeds]]:
        return feeds_by_file(inputs["model"], samples, threads=usable_cores())

    def feeds(name: str) -> Iterator[Feeds]:
        yield from opened()(name)

    return feeds


def _rows(params: Any, inputs: Mapping[str, Path], part: int | None) -> Iterable[str]:
    """The rows of the dataset: all, or every second one for each of two parts."""
    if PORT not in inputs:
        return (SENTENCES if part else CALIBRATION_TEXTS)[: params.samples]
    rows = texts(inputs[PORT], params.rows, samples=params.samples, seed=params.seed)
    return rows if part is None else islice(rows, part, None, 2)


def _with_joined(rows: Iterable[str]) -> Iterator[str]:
    """The texts, and among them some that fill the length.

    Ranges of short texts alone cut off what a model computes in long ones: with OpenVINO, the int8 form of MiniLM has a
    mean cosine of 0.9941 on text of a documentation, and of 0.9951 with joined texts.
    """
    last: deque[str] = deque(maxlen=_JOINED)
    for number, text in enumerate(rows, 1):
        yield text
        last.append(text)
        if number % _BETWEEN == 0:
            yield " ".join(last)
