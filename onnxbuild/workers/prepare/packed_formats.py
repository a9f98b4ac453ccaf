"""How GPTQ and AWQ pack weights of 4 bits, read from the sources that write them.

Both pack eight codes into an int32, the first into the lowest bits. K inputs, N outputs, G groups of inputs.

| | qweight | order | qzeros | order | scales |
|---|---|---|---|---|---|
| GPTQ (AutoGPTQ, `qlinear_cuda_old.pack`) | [K/8, N] | along K | [G, N/8] | along N, minus 1 | [G, N] |
| GPTQ v2 (GPTQModel) | [K/8, N] | along K | [G, N/8] | along N | [G, N] |
| AWQ (AutoAWQ, `WQLinear_GEMM.from_linear`) | [K, N/8] | along N, 0 2 4 6 1 3 5 7 | [G, N/8] | as qweight | [G, N] |

GPTQ also stores the group of each input, `g_idx` [K]: with `desc_act` groups are not contiguous.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from onnxbuild.protocol import CheckFailed

_PER_INT32 = 8
_LARGEST = 15
# Place i of an int32 of AWQ holds the column _AWQ_ORDER[i] of its eight.
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


class Packed(NamedTuple):
    """Codes [K, N] and zero points [G, N] from 0 to 15, scales [G, N] in fp32, and the group of each input [K]."""

    codes: np.ndarray
    zeros: np.ndarray
    scales: np.ndarray
    groups: np.ndarray

    def values(self) -> np.ndarray:
        """The weights [K, N]: exact in fp32, since a difference has 5 bits and a scale 11."""
        zeros: np.ndarray = self.zeros.astype(np.float32)
        values: np.ndarray = (self.codes.astype(np.float32) - zeros[self.groups]) * self.scales[self.groups]
        return values

    @property
    def is_in_order(self) -> bool:
        """Whether the groups are equally long and contiguous, as MatMulNBits needs them."""
        inputs, groups = len(self.groups), len(self.scales)
        return inputs % groups == 0 and bool((self.groups == np.arange(inputs) // (inputs // groups)).all())


def read_gptq(name: str, tensors: Mapping[str, np.ndarray], *, group_size: int, second: bool) -> Packed:
    """The weights of one layer of GPTQ; `second`: of format gptq_v2. Errors: CheckFailed OBE96."""
    codes = _unpacked(tensors["qweight"].T).T
    zeros = _unpacked(tensors["qzeros"])
    if not second:
        zeros = (zeros + 1) & _LARGEST
    groups = tensors.get("g_idx")
    if groups is None:
        groups = _contiguous(len(codes), group_size)
    return _checked(name, Packed(codes, zeros, tensors["scales"].astype(np.float32), groups.astype(np.int64)))


def read_awq(name: str, tensors: Mapping[str, np.ndarray], *, group_size: int) -> Packed:
    """The weights of one layer of AWQ. Errors: CheckFailed OBE96."""
    codes, zeros = (_in_awq_order(_unpacked(tensors[part])) for part in ("qweight", "qzeros"))
    scales: np.ndarray = tensors["scales"].astype(np.float32)
    return _checked(name, Packed(codes, zeros, scales, _contiguous(len(codes), group_size)))


def _contiguous(inputs: int, group_size: int) -> np.ndarray:
    return np.arange(inputs, dtype=np.int64) // (group_size if group_size > 0 else inputs)


def _unpacked(packed: np.ndarray) -> np.ndarray:
    """Integers of 32 bits [rows, columns] as codes [rows, 8 × columns], the lowest bits first."""
    shifts: np.ndarray = np.arange(0, 32, 4, dtype=np.uint32)
    codes: np.ndarray = (packed.view(np.uint32)[..., None] >> shifts & _LARGEST).astype(np.uint8)
    flat: np.ndarray = codes.reshape(packed.shape[0], -1)
    return flat


def _in_awq_order(codes: np.ndarray) -> np.ndarray:
    straight: np.ndarray = np.empty_like(codes)
    for place, column in enumerate(_AWQ_ORDER):
        straight[:, column::_PER_INT32] = codes[:, place::_PER_INT32]
    return straight


def _checked(name: str, packed: Packed) -> Packed:
    inputs, outputs = packed.codes.shape
    shapes = {packed.zeros.shape, packed.scales.shape}
    fits = shapes == {(len(packed.scales), outputs)} and packed.groups.shape == (inputs,)
    if not fits or not 0 <= packed.groups.min() <= packed.groups.max() < len(packed.scales):
        sizes = f"codes {packed.codes.shape}, zero points {packed.zeros.shape}, scales {packed.scales.shape}"
        raise CheckFailed(
            "OBE96",
            f"the quantized weight `{name}` has parts that do not fit each other: {sizes}",
            notes=[("hint", "its layout is another than config.json says, or the checkpoint is damaged")],
        )
    return packed
