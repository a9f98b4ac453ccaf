"""How near the outputs of a variant of a graph are to those of the graph in fp32, pass by pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from onnxbuild.workers.measuring import metrics

LOGITS = "logits"
LOSSES = "losses of tokens"  # beside the outputs: -log p of the token that follows each token of a text
OF_FILE = "::"  # between the name of a file and that of an output, where several graphs are joined

WORST = 1e30  # the loss of a part that makes an output infinite or not a number

# Vectors kept from each output of one pass: the logits of 40 texts and 50,000 words are 8 MB a row of all texts.
_VECTORS = 8

Arrays = Mapping[str, np.ndarray]
Outputs = list[dict[str, np.ndarray]]  # for each pass, some vectors [vectors, channels] of each output by name


class Holding(Protocol):
    """A trial of a search, which keeps the bounds or does not."""

    @property
    def holds(self) -> bool:
        """Whether it keeps all bounds."""


OneTrial = TypeVar("OneTrial", bound=Holding)


def judged(outputs: Arrays, fed: Arrays, *, with_losses: bool) -> dict[str, np.ndarray]:
    """What is kept of one pass: some vectors of each output. `with_losses`: also the losses of all tokens."""
    vectors = {name: _vectors(array) for name, array in outputs.items()}
    found = [_losses(outputs[name], fed, name.removesuffix(LOGITS)) for name in outputs if _plain(name) == LOGITS]
    losses = [one for one in found if one is not None] if with_losses else []
    return {**vectors, LOSSES: np.concatenate(losses)} if losses else vectors


def _losses(logits: np.ndarray, fed: Arrays, file: str) -> np.ndarray | None:
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


def holds_cache(name: str) -> bool:
    """Whether an output is a part of a decoder's cache, which the next pass reads and no user does."""
    return _plain(name).startswith("present")


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


def noted_scores(values: Mapping[str, float | None]) -> dict[str, float]:
    """Scores as a journal gives them back: JSON has neither NaN nor infinity, and has nothing in their place."""
    return {name: math.nan if value is None else value for name, value in values.items()}


def loss_of(found: Mapping[str, float]) -> float:
    """One number for how far outputs are, where nodes are compared with each other."""
    return found["kl_mean"] if "kl_mean" in found else 1 - found["cosine_mean"]


def fewest(trial: Callable[[int], OneTrial], most: int) -> OneTrial | None:
    """The trial that holds with the fewest nodes taken back, from 1 to `most`; None if not even `most` suffice.

    The count is doubled until the bound holds, and then the interval is halved: 10 trials for 39 nodes.
    """
    failed, count = 0, 1
    held = None
    while held is None:
        count = min(count, most)
        now = trial(count)
        if now.holds:
            held = now
        elif count == most:
            return None
        else:
            failed, count = count, count * 2
    while count - failed > 1:
        middle = (failed + count) // 2
        now = trial(middle)
        if now.holds:
            held, count = now, middle
        else:
            failed = middle
    return held
