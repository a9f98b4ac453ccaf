"""How near the outputs of a graph are to those of the fp32 graph, on text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto

from onnxbuild.machine import usable_cores
from onnxbuild.workers.calibrate.feeds import Feeds
from onnxbuild.workers.engines.onnxruntime_engine import session_options
from onnxbuild.workers.graphs.graph_files import save_model
from onnxbuild.workers.measuring import metrics

LOGITS = "logits"

# Vectors kept from each output of one pass: the logits of 40 texts and 50,000 words are 8 MB a row of all texts.
_VECTORS = 8

Outputs = list[dict[str, np.ndarray]]  # for each pass, some vectors [vectors, channels] of each output by name


def outputs_of(model: ModelProto, feeds: Sequence[Feeds], scratch: Path) -> Outputs:
    """What a graph gives for each feed, without the cache of a decoder."""
    path = scratch / "judged.onnx"
    copy = ModelProto()
    copy.CopyFrom(model)
    save_model(copy, path)
    session = onnxruntime.InferenceSession(
        str(path), session_options(usable_cores()), providers=["CPUExecutionProvider"]
    )
    for written in scratch.glob("judged.onnx*"):
        written.unlink()
    names = [value.name for value in session.get_outputs() if _is_judged(value)]
    return [dict(zip(names, map(_vectors, session.run(names, dict(fed))), strict=True)) for fed in feeds]


def _is_judged(value: Any) -> bool:
    return value.type == "tensor(float)" and not value.name.startswith("present")


def _vectors(array: np.ndarray) -> np.ndarray:
    rows = array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
    return rows[:: -(-len(rows) // _VECTORS)].copy()


def scores(exact: Outputs, found: Outputs) -> dict[str, float]:
    """Cosine, mean and least, of the vectors of the worst output; for logits also the share of equal winners and KL."""
    names = dict.fromkeys(name for one in exact for name in one)
    cosines = [np.concatenate(list(_each(exact, found, name, metrics.cosines))) for name in names]
    result = {
        # `min` of Python leaves out a NaN that is not the first one.
        "cosine_mean": float(np.min([one.mean() for one in cosines])),
        "cosine_min": float(np.min([one.min() for one in cosines])),
    }
    if LOGITS in names:
        winners = np.concatenate(list(_each(exact, found, LOGITS, metrics.same_decisions)))
        result["top1"] = float(winners.mean())
        result["kl_mean"] = float(np.concatenate(list(_each(exact, found, LOGITS, metrics.divergences))).mean())
    return result


def _each(exact: Outputs, found: Outputs, name: str, measure: Any) -> Iterator[np.ndarray]:
    return (
        measure(one[name].astype(np.float64), other[name].astype(np.float64))
        for one, other in zip(exact, found, strict=True)
        if name in one
    )


def kept(feeds: Iterable[Feeds]) -> list[Feeds]:
    """The feeds in memory, because every trial reads them."""
    return [{name: np.array(value) for name, value in fed.items()} for fed in feeds]


def loss_of(found: Mapping[str, float]) -> float:
    """One number for how far outputs are, where nodes are compared with each other."""
    return found["kl_mean"] if "kl_mean" in found else 1 - found["cosine_mean"]
