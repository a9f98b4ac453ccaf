"""What each graph is fed while a model reads text: the rows of a dataset, or texts that come with onnxbuild."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.openvino_backend import OpenvinoParams
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.workers.calibrate.calibration_texts import CALIBRATION_TEXTS
from onnxbuild.workers.calibrate.feeds import Feeds, feeds_by_file
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.inputs.dataset_texts import texts
from onnxbuild.workers.inputs.sample_source import open_source
from onnxbuild.workers.inputs.samples import Sample, single_texts


def feeds_of_text(params: OpenvinoParams, inputs: Mapping[str, Path]) -> Callable[[str], Iterable[Feeds]]:
    """The feeds of each file; the model is opened when the first of them is read. Errors: CheckFailed OBE59."""

    def samples(model: OnnxModel) -> Iterator[Sample]:
        trust = params.trusts_code
        source = open_source(inputs["model"], model, "", seed=params.seed, trusts_code=trust, light=True)
        if not source.reads_text:
            message = "the model reads no text: it has no tokenizer, or takes no `input_ids`"
            raise CheckFailed("OBE59", message, notes=[("hint", "`weights: int8` needs no text")])
        yield from single_texts(source, _rows(params, inputs), params.sequence)

    @cache
    def opened() -> Callable[[str], Iterable[Feeds]]:
        return feeds_by_file(inputs["model"], samples, threads=usable_cores())

    def feeds(name: str) -> Iterator[Feeds]:
        yield from opened()(name)

    return feeds


def _rows(params: OpenvinoParams, inputs: Mapping[str, Path]) -> Iterable[str]:
    if PORT not in inputs:
        return CALIBRATION_TEXTS[: params.samples]
    return texts(inputs[PORT], params.rows, samples=params.samples, seed=params.seed)
