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
LOSSES = "losses of tokens"  # beside the outputs: -log p of the token that follows each token of a text
OF_FILE = "::"  # between the name of a file and that of an output, where several graphs are joined

# Vectors kept from each output of one pass: the logits of 40 texts and 50,000 words are 8 MB a row of all texts.
_VECTORS = 8

Outputs = list[dict[str, np.ndarray]]  # for each pass, some vectors [vectors, channels] of each output by name


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
    names = [value.name for value in session.get_outputs() if _is_judged(value)]
    return [_judged(dict(zip(names, session.run(names, dict(fed)), strict=True)), fed, with_losses) for fed in feeds]


def _judged(outputs: Mapping[str, np.ndarray], fed: Feeds, with_losses: bool) -> dict[str, np.ndarray]:  # noqa: FBT001 - passed on
    vectors = {name: _vectors(array) for name, array in outputs.items()}
    found = [_losses(outputs[name], fed, name.removesuffix(LOGITS)) for name in outputs if _plain(name) == LOGITS]
    losses = [one for one in found if one is not None] if with_losses else []
    return {**vectors, LOSSES: np.concatenate(losses)} if losses else vectors


def _losses(logits: np.ndarray, fed: Feeds, file: str) -> np.ndarray | None:
    """The losses of the tokens that a graph reads after its first one; None where its logits are not of tokens."""
    ids = fed.get(f"{file}input_ids")
    if ids is None or logits.shape[:-1] != ids.shape:
        return None
    mask = fed.get(f"{file}attention_mask", np.ones_like(ids))[:, -ids.shape[1] :].astype(bool)
    rows = [(one[real][:-1], read[real][1:]) for one, read, real in zip(logits, ids, mask, strict=True)]
    losses = [metrics.negative_log_likelihoods(one.astype(np.float64), after) for one, after in rows]
    return np.concatenate(losses)  # type: ignore[no-any-return]


def _plain(name: str) -> str:
    """The name of an output without that of its file."""
    return name.rpartition(OF_FILE)[2]


def _is_judged(value: Any) -> bool:
    return value.type == "tensor(float)" and not _plain(value.name).startswith("present")


def _vectors(array: np.ndarray) -> np.ndarray:
    rows = array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
    return rows[:: -(-len(rows) // _VECTORS)].copy()


def scores(exact: Outputs, found: Outputs) -> dict[str, float]:
    """Cosine, mean and least, of the vectors of the worst output; of logits the share of equal winners and KL.

    With losses, also the ratio of perplexities.
    """
    names = [name for name in dict.fromkeys(name for one in exact for name in one) if name != LOSSES]
    cosines = [np.concatenate(list(_each(exact, found, name, metrics.cosines))) for name in names]
    result = {
        # `min` of Python leaves out a NaN that is not the first one.
        "cosine_mean": float(np.min([one.mean() for one in cosines])),
        "cosine_min": float(np.min([one.min() for one in cosines])),
    }
    if logits := [name for name in names if _plain(name) == LOGITS]:
        result["top1"] = float(_of_logits(exact, found, logits, metrics.same_decisions).mean())
        result["kl_mean"] = float(_of_logits(exact, found, logits, metrics.divergences).mean())
    if any(LOSSES in one for one in exact):
        losses = [np.concatenate([one[LOSSES] for one in side if LOSSES in one]) for side in (exact, found)]
        result["perplexity_ratio"] = metrics.perplexity_ratio(losses[0], losses[1])
    return result


def _of_logits(exact: Outputs, found: Outputs, names: Sequence[str], measure: Any) -> np.ndarray:
    parts = [part for name in names for part in _each(exact, found, name, measure)]
    return np.concatenate(parts)  # type: ignore[no-any-return]


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
