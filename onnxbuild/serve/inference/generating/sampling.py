"""The choice of the next token from logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxbuild.serve.wire import Sampling


class Sampler:
    """The choices of one completion. The same seed gives the same tokens from the same logits."""

    def __init__(self, sampling: Sampling, defaults: dict[str, Any]) -> None:
        samples = defaults.get("do_sample", True)
        usual = float(defaults.get("temperature") or 1.0) if samples else 0.0
        self._temperature = usual if sampling.temperature is None else sampling.temperature
        self._top_p = float(defaults.get("top_p") or 1.0) if sampling.top_p is None else sampling.top_p
        self._penalty = float(defaults.get("repetition_penalty") or 1.0)
        self._random = np.random.default_rng(sampling.seed)

    def choose(self, logits: np.ndarray, before: Sequence[int]) -> int:
        """The next token: the likeliest at temperature 0, else a draw from the nucleus of `top_p`."""
        logits = logits.astype(np.float32)
        if self._penalty != 1.0:
            logits = _penalized(logits, before, self._penalty)
        if not self._temperature:
            return int(logits.argmax())
        order = np.argsort(-logits, kind="stable")
        scaled = logits[order].astype(np.float64) / self._temperature
        powers = np.exp(scaled - scaled[0])
        sums = np.cumsum(powers / powers.sum())
        kept = int(np.searchsorted(sums, min(self._top_p, sums[-1]))) + 1
        draw = self._random.random() * sums[kept - 1]
        return int(order[np.searchsorted(sums[:kept], draw)])


def _penalized(logits: np.ndarray, before: Sequence[int], penalty: float) -> np.ndarray:
    """Tokens that were there already become less likely, as transformers computes it."""
    seen = np.unique(np.asarray(before, dtype=np.int64))
    changed = logits.copy()
    changed[seen] = np.where(logits[seen] < 0, logits[seen] * penalty, logits[seen] / penalty)
    return changed
