"""Clips ranges by a histogram: rare large values are sacrificed for finer steps between the others."""

from __future__ import annotations

import numpy as np

from onnxbuild.workers.calibrate.observe import BINS, Range

_LEVELS = 128  # of an 8-bit activation on one side of zero


def clipped_by_percentile(limits: Range, counts: np.ndarray, percentile: float) -> Range:
    """The range that holds `percentile` percent of the values, with equal shares cut off below and above."""
    low, high = limits
    share = np.cumsum(counts) / max(1, counts.sum())
    cut = (100.0 - percentile) / 200.0
    edges = np.linspace(low, high, len(counts) + 1)
    first = int(np.searchsorted(share, cut, side="right"))
    last = min(int(np.searchsorted(share, 1.0 - cut)), len(counts) - 1)
    return float(edges[min(first, last)]), float(edges[last + 1])


def clipped_by_entropy(limits: Range, counts: np.ndarray) -> Range:
    """The range up to the magnitude at which the quantized distribution is closest to the real one.

    The method of TensorRT (Migacz, GTC 2017): the smallest Kullback-Leibler divergence over candidate thresholds.
    """
    low, high = limits
    edges = np.linspace(low, high, len(counts) + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    most = max(abs(low), abs(high))
    magnitudes = np.histogram(np.abs(middles), BINS, range=(0, most), weights=counts)[0]
    candidates = range(_LEVELS, BINS + 1, 16)
    best = min(candidates, key=lambda size: _divergence(magnitudes, size))
    threshold = most * best / BINS
    return max(low, -threshold), min(high, threshold)


def _divergence(counts: np.ndarray, size: int) -> float:
    """The divergence of the distribution in `_LEVELS` levels from the one cut at `size` bins, outliers in the last."""
    real: np.ndarray = counts[:size].astype(np.float64)
    level: np.ndarray = np.arange(size) * _LEVELS // size
    used = real > 0
    per_level = np.bincount(level, weights=real, minlength=_LEVELS)
    in_use = np.bincount(level, weights=used, minlength=_LEVELS)
    spread = np.where(used, per_level[level] / np.maximum(in_use[level], 1), 0.0)
    real[-1] += counts[size:].sum()
    both = (real > 0) & (spread > 0)
    # Where the quantized distribution has nothing, what was cut off counts with the smallest probability.
    quantized = np.where(both, spread, np.where(real > 0, 1e-4, 0.0))
    p, q = real / max(real.sum(), 1.0), quantized / max(quantized.sum(), 1e-12)
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / q[seen])))
