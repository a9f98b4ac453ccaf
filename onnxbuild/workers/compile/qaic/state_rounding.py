"""What a value is after it was stored in the precision of `custom_io.yaml`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

_BLOCK = 32  # values that share one scale in MXINT8
_FRACTION = 64.0  # an element is an 8-bit integer with 6 bits after the point
_LARGEST = 127.0


def in_float16(values: np.ndarray) -> np.ndarray:
    """The values as fp16 has them; those beyond its range become infinite, as they would on the card."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def in_mxint8(values: np.ndarray) -> np.ndarray:
    """The values as MXINT8 has them: blocks of 32 along the last axis share a power of two.

    From the OCP Microscaling Formats (MX) Specification 1.0, 5.3.4 and 6.3: the exponent is that of the largest
    magnitude of the block; an element beyond the range saturates. A rest of a block shares a scale of its own.
    """
    size = values.shape[-1]
    padded = np.pad(values.astype(np.float32), [(0, 0)] * (values.ndim - 1) + [(0, -size % _BLOCK)])
    blocks = padded.reshape(*values.shape[:-1], -1, _BLOCK)
    largest = np.abs(blocks).max(-1, keepdims=True)
    scale = np.exp2(np.floor(np.log2(np.where(largest > 0, largest, 1.0))))
    elements = np.clip(np.rint(blocks / scale * _FRACTION), -_LARGEST, _LARGEST)
    rounded: np.ndarray = (elements / _FRACTION * scale).reshape(padded.shape)[..., :size]
    return rounded.astype(np.float32)


ROUNDING: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"float16": in_float16, "mxint8": in_mxint8}
