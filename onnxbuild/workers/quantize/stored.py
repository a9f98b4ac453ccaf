"""The codes of a quantized checkpoint, put into the graph as they are: MatMulNBits in place of the products with them.

A weight is found by its content, so it does not matter what an exporter called it. The unpacked values are exact, and
a graph in fp32 has the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from onnx import ModelProto, numpy_helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.tables.checkpoints.quantization import CODES
from onnxbuild.workers.quantize.nbits import Codes, put_codes, store_codes, taken

_BLOCKS = (256, 128, 64, 32, 16)  # those that MatMulNBits has
_BLOCK_OF_ONE_GROUP = 32  # any would do: all inputs share a scale


def put_stored(model: ModelProto, params: QuantizeParams, checkpoint: Path) -> tuple[ModelProto, dict[str, Any]]:
    """Replace each MatMul whose weight the checkpoint has as codes. `model` is changed; facts: `stored`, `absent`.

    Errors: CheckFailed OBE96 if the checkpoint has no codes, or the graph none of its weights.
    """
    codes = dict(_codes_in(checkpoint / CODES))
    by_content = {_digest(_values(one)): name for name, one in codes.items()}
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    made: dict[str, tuple[tuple[str, ...], QuantizeParams]] = {}
    found: set[str] = set()
    for node in taken(model, params):
        name = node.input[1]
        if name not in made:
            layer = by_content.get(_digest(numpy_helper.to_array(weights[name])))
            if layer is None:
                continue
            blocked, size = _in_blocks(codes[layer])
            of_layer = replace(params, bits=4, block_size=size, symmetric=False)
            made[name] = (store_codes(model, name, blocked, of_layer), of_layer)
            found.add(layer)
        stored, of_layer = made[name]
        put_codes(node, stored, tuple(weights[name].dims), of_layer)
    if not found:
        raise _without_codes("the graph has none of the weights that the checkpoint stores as codes")
    return model, {"stored": len(found), "absent": sorted(codes.keys() - found)}


def _codes_in(path: Path) -> Iterator[tuple[str, Codes]]:
    from safetensors.numpy import load_file

    if not path.is_file():
        raise _without_codes("the checkpoint has no codes: its weights are not quantized")
    arrays = load_file(path)
    layers = sorted(name.removesuffix(".codes") for name in arrays if name.endswith(".codes"))
    if not layers:
        raise _without_codes(
            "the groups of all weights are out of order (`desc_act`), which MatMulNBits cannot express"
        )
    for layer in layers:
        pairs = arrays[f"{layer}.codes"]
        codes = np.empty((2 * pairs.shape[0], pairs.shape[1]), np.uint8)
        codes[::2], codes[1::2] = pairs & 15, pairs >> 4
        yield layer, Codes(codes, arrays[f"{layer}.scales"], arrays[f"{layer}.zeros"])


def _values(one: Codes) -> np.ndarray:
    """The weights [inputs, outputs], computed as the checkpoint was written out."""
    length = len(one.codes) // len(one.scales)
    zeros, scales = (np.repeat(part.astype(np.float32), length, axis=0) for part in (one.zeros, one.scales))
    values: np.ndarray = (one.codes.astype(np.float32) - zeros) * scales
    return values


def _digest(weight: np.ndarray) -> bytes:
    """What finds a weight; -0.0 and 0.0 are the same number."""
    return blake2b(np.ascontiguousarray(weight.astype(np.float32) + np.float32(0)).data).digest()


def _in_blocks(one: Codes) -> tuple[Codes, int]:
    """The codes in blocks of a size that the operator has: each group in one or several, with the same scale.

    Errors: CheckFailed OBE96 for groups that no block divides.
    """
    inputs, groups = len(one.codes), len(one.scales)
    length = inputs // groups
    size = next((block for block in _BLOCKS if length % block == 0), _BLOCK_OF_ONE_GROUP if groups == 1 else 0)
    if not size:
        raise _without_codes(f"the checkpoint has groups of {length} inputs, and a block has at least 16")
    blocks = -(-length // size)
    padded = np.pad(one.codes, ((0, blocks * size * groups - inputs), (0, 0)))
    scales, zeros = (np.repeat(part, blocks, axis=0) for part in (one.scales, one.zeros))
    return Codes(padded, scales, zeros), size


def _without_codes(why: str) -> CheckFailed:
    hint = "`optimize: O1` joins no weights; `quantize: q4` quantizes the values again"
    return CheckFailed("OBE96", why, notes=[("hint", hint)])


def warnings_of(facts: Mapping[str, Any]) -> list[str]:
    """The weights of the checkpoint that no graph has as they were stored."""
    absent = [set(file["absent"]) for file in facts["files"].values() if "absent" in file]
    left = sorted(set.intersection(*absent)) if absent else []
    return (
        [f"{len(left)} quantized weights of the checkpoint are in no graph as stored: {', '.join(left)}"]
        if left
        else []
    )
