"""What a graph gives on text, by which the variants of a search are judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import ModelProto

from onnxbuild.machine import usable_cores
from onnxbuild.workers.calibrate.feeds import Feeds
from onnxbuild.workers.engines.onnxruntime_engine import session_options
from onnxbuild.workers.graphs.graph_files import save_model
from onnxbuild.workers.measuring.output_scores import Outputs, holds_cache, judged


def outputs_of(model: ModelProto, feeds: Sequence[Feeds], scratch: Path, *, with_losses: bool = False) -> Outputs:
    """What a graph gives for each feed, without the cache of a decoder. `with_losses`: also those of all tokens."""
    path = scratch / "judged.onnx"
    copy = ModelProto()
    copy.CopyFrom(model)
    save_model(copy, path)
    session = onnxruntime.InferenceSession(
        str(path), session_options(usable_cores()), providers=["CPUExecutionProvider"]
    )
    for written in scratch.glob("judged.onnx*"):
        written.unlink()
    names = [
        value.name for value in session.get_outputs() if value.type == "tensor(float)" and not holds_cache(value.name)
    ]
    passes = ((dict(zip(names, session.run(names, dict(fed)), strict=True)), fed) for fed in feeds)
    return [judged(outputs, fed, with_losses=with_losses) for outputs, fed in passes]


def kept(feeds: Iterable[Feeds]) -> list[Feeds]:
    """The feeds in memory, because every trial reads them."""
    return [{name: np.array(value) for name, value in fed.items()} for fed in feeds]
