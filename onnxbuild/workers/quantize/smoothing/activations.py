"""What the products of a graph read while the model reads text, as much of it as the search for scales needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from onnx import ModelProto

from onnxbuild.workers.calibrate.feeds import Feeds
from onnxbuild.workers.calibrate.observe import watch

# Rows of channels kept from each sample: 40 samples of 1536 channels are 4 MB in fp32.
_ROWS = 16


class Activation(NamedTuple):
    """One tensor: the range of each channel in each sample [samples, channels], and some rows [rows, channels].

    `sample` [rows] says from which sample a row is. The ranges are exact: dynamic quantization takes its scale from
    them, whatever the channels are divided by.
    """

    lows: np.ndarray
    highs: np.ndarray
    rows: np.ndarray
    sample: np.ndarray

    @property
    def largest(self) -> np.ndarray:
        """The largest magnitude of each channel."""
        most: np.ndarray = np.maximum(-self.lows.min(axis=0), self.highs.max(axis=0))
        return most


def observe(
    model: ModelProto, tensors: Collection[str], feeds: Iterable[Feeds], scratch: Path
) -> dict[str, Activation]:
    """Each tensor that has values in every sample, over all feeds. Only the rows to keep stay in memory."""
    parts: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {name: [] for name in tensors}
    for values in watch(model, tensors, feeds, scratch):
        for name, array in values.items():
            if array.size:
                parts[name].append(_of_sample(array.reshape(-1, array.shape[-1])))
    return {name: _joined(of_tensor) for name, of_tensor in parts.items() if of_tensor}


def _of_sample(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kept = rows[:: -(-len(rows) // _ROWS)]
    return rows.min(axis=0), rows.max(axis=0), kept.copy()


def _joined(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Activation:
    lows, highs, rows = zip(*parts, strict=True)
    sample: np.ndarray = np.repeat(np.arange(len(rows)), [len(one) for one in rows])
    return Activation(np.stack(lows), np.stack(highs), np.concatenate(rows), sample)
