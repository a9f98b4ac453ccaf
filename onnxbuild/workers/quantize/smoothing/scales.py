"""SmoothQuant's scales of the channels of a product, and the error of the product quantized with them.

After Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models" (2022):
x·w = (x / s)·(s w), where s = max|x|^a / max|w|^(1 - a) for each channel. The paper uses one strength `a` for a whole
model. Here, each group of products gets the strength with the smallest error from a grid that includes no smoothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from onnxbuild.workers.quantize.smoothing.activations import Activation
from onnxbuild.workers.quantize.smoothing.groups import Group

STRENGTHS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)

# A strength is taken if its error is at most this part of the error without. Closer ones could change places from one
# CPU to the next, because kernels add in different orders.
_WORTH_IT = 0.98

_FEWEST = 0.01  # of the median: the least magnitude of a channel, so that one that was silent is not blown up
_PER_OCTAVE = 8
_COLUMNS = 384  # outputs of a weight on which an error is measured
_LEVELS = 255  # of uint8

Matrices = Mapping[str, np.ndarray]


class Choice(NamedTuple):
    """The strength for a group, None for no smoothing, its scales [channels], and the errors without and with it."""

    strength: float | None
    scales: np.ndarray
    plain_error: float
    error: float


class Pair(NamedTuple):
    """An activation, some columns of a weight [channels, columns], and their exact product [rows, columns]."""

    activation: Activation
    weight: np.ndarray
    product: np.ndarray


def choose(
    group: Group,
    activations: Mapping[str, Activation],
    weights: Matrices,
    strengths: Iterable[float],
    *,
    signed: bool,
    by_row: bool = False,
) -> Choice:
    """The strength with the smallest error among these and none; the first of equal ones.

    `by_row`: each row of an activation is divided by its largest magnitude before it is rounded.
    """
    plain: np.ndarray = np.ones(len(weights[group.weights[0]]), np.float32)
    pairs = pairs_of(group, activations, weights)
    of_plain = error_of(pairs, plain, signed=signed, by_row=by_row)
    best = Choice(None, plain, of_plain, of_plain)
    for strength in strengths:
        scales = scales_of(group, activations, weights, strength)
        error = error_of(pairs, scales, signed=signed, by_row=by_row)
        if error < best.error * (_WORTH_IT if best.strength is None else 1.0):
            best = Choice(strength, scales, of_plain, error)
    return best


def fixed(
    group: Group, activations: Mapping[str, Activation], weights: Matrices, strength: float, *, signed: bool
) -> Choice:
    """The given strength, whatever its error is."""
    plain: np.ndarray = np.ones(len(weights[group.weights[0]]), np.float32)
    scales = scales_of(group, activations, weights, strength)
    pairs = pairs_of(group, activations, weights)
    errors = [error_of(pairs, one, signed=signed) for one in (plain, scales)]
    return Choice(strength, scales, *errors)


def scales_of(group: Group, activations: Mapping[str, Activation], weights: Matrices, strength: float) -> np.ndarray:
    """The scale of each channel [channels], rounded to an eighth of an octave.

    What CPUs compute differs in the last bits, and the rounding makes the bytes of the model equal nonetheless. Whole
    octaves would make the products exact, and cost a third of the gain (MiniLM: a cosine of 0.9974 instead of 0.9979).
    """
    of_activation = _floored(np.max([activations[name].largest for name in group.activations], axis=0))
    of_weight = _floored(np.max([np.abs(weights[name]).max(axis=1) for name in group.weights], axis=0))
    exponents = strength * np.log2(of_activation) - (1 - strength) * np.log2(of_weight)
    scales: np.ndarray = np.exp2(np.round(exponents * _PER_OCTAVE) / _PER_OCTAVE).astype(np.float32)
    return scales


def _floored(magnitudes: np.ndarray) -> np.ndarray:
    """Magnitudes, those of silent channels raised to a small part of the median; 1 where all are silent."""
    heard = magnitudes[magnitudes > 0]
    if not len(heard):
        return np.ones(len(magnitudes), np.float64)
    raised: np.ndarray = np.maximum(magnitudes.astype(np.float64), _FEWEST * float(np.median(heard)))
    return raised


def pairs_of(group: Group, activations: Mapping[str, Activation], weights: Matrices) -> list[Pair]:
    """What the products of a group read, each pair once."""
    names = dict.fromkeys((product.activation, product.weight) for product in group.products)
    return [_pair(activations[activation], weights[weight]) for activation, weight in names]


def _pair(activation: Activation, weight: np.ndarray) -> Pair:
    columns = weight[:, :: -(-weight.shape[1] // _COLUMNS)]
    return Pair(activation, columns, activation.rows @ columns)


def error_of(pairs: Iterable[Pair], scales: np.ndarray, *, signed: bool, by_row: bool = False) -> float:
    """The mean over the pairs of the squared error of the quantized product, relative to its squared size."""
    return float(np.mean([_error(pair, scales, signed=signed, by_row=by_row) for pair in pairs]))


def _error(pair: Pair, scales: np.ndarray, *, signed: bool, by_row: bool) -> float:
    round_rows = rounded_by_row if by_row else rounded_activation
    rounded = round_rows(pair.activation, scales) @ rounded_weight(pair.weight * scales[:, None], signed=signed)
    size = float(np.square(pair.product, dtype=np.float64).sum())
    return float(np.square(pair.product - rounded, dtype=np.float64).sum()) / size if size else 0.0


def rounded_activation(activation: Activation, scales: np.ndarray) -> np.ndarray:
    """The rows divided by the scales, as DynamicQuantizeLinear rounds them: uint8, one range for each sample."""
    low = np.minimum((activation.lows / scales).min(axis=1), 0)
    high = np.maximum((activation.highs / scales).max(axis=1), 0)
    step = np.where(high > low, (high - low) / _LEVELS, 1).astype(np.float32)
    zero = np.clip(np.round(-low / step), 0, _LEVELS)
    step, zero = step[activation.sample, None], zero[activation.sample, None]
    rounded: np.ndarray = (np.clip(np.round(activation.rows / scales / step) + zero, 0, _LEVELS) - zero) * step
    return rounded.astype(np.float32)


def rounded_by_row(activation: Activation, scales: np.ndarray) -> np.ndarray:
    """The rows divided by the scales, each rounded in units of its own largest magnitude."""
    rows = activation.rows / scales
    largest = np.abs(rows).max(axis=1, keepdims=True)
    largest = np.where(largest > 0, largest, 1)
    single = np.arange(len(rows))
    shares = rows / largest
    rounded = rounded_activation(Activation(shares, shares, shares, single), np.ones(1, np.float32))
    times_largest: np.ndarray = (rounded * largest).astype(np.float32)
    return times_largest


def rounded_weight(weight: np.ndarray, *, signed: bool) -> np.ndarray:
    """The matrix with each column rounded to 8 bits: signed around 0, or unsigned over the column's range."""
    low, high = np.minimum(weight.min(axis=0), 0), np.maximum(weight.max(axis=0), 0)
    if signed:
        low, high = -np.maximum(-low, high), np.maximum(-low, high)
    levels = _LEVELS - 1 if signed else _LEVELS
    step = np.where(high > low, (high - low) / levels, 1)
    zero = np.round(-low / step) if not signed else levels / 2
    rounded: np.ndarray = (np.clip(np.round(weight / step) + zero, 0, levels) - zero) * step
    return rounded
