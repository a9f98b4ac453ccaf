"""Writes a checkpoint of GPTQ or AWQ out as the fp32 values that its codes stand for, and keeps the codes beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.protocol import CheckFailed, Tell
from onnxbuild.tables.checkpoints.quantization import (
    CODES,
    CONV1D_TYPES,
    Format,
    block_of,
    group_size_of,
    without_block,
)
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.folders.model_files import carry_companions
from onnxbuild.workers.prepare.checkpoint_weights import WeightFiles, WeightWriter
from onnxbuild.workers.prepare.packed_formats import Packed, read_awq, read_gptq

_END = ".qweight"
_PARTS = ("qweight", "qzeros", "scales", "g_idx")


def unpack(source: Path, destination: Path, layout: Format, tell: Tell) -> dict[str, Any]:
    """Write the checkpoint; facts: `unpacked` and `reordered`, how many weights, and the latter without codes.

    Errors: CheckFailed OBE96 if there are no packed weights, or one of them is not as config.json says.
    """
    config = read_config(source)
    block = block_of(config) or {}
    with WeightFiles(source) as files, WeightWriter(destination) as writer:
        layers = sorted(name.removesuffix(_END) for name in files.names if name.endswith(_END))
        if not layers:
            message = f"config.json says {layout.upper()}, and the checkpoint has no packed weights"
            raise CheckFailed("OBE96", message, notes=[("hint", "take the unquantized model")])
        codes: dict[str, np.ndarray] = {}
        for done, layer in enumerate(layers):
            tell(f"unpacking {layer}", done, len(layers))
            packed = _read(layer, files, layout, block)
            writer.add(f"{layer}.weight", _as_stored(packed, layer, config))
            codes |= dict(_kept(layer, packed)) if packed.is_in_order else {}
        for name in _others(files, layers):
            writer.add(name, files.tensor(name))
    _save_codes(codes, destination / CODES)
    (destination / "config.json").write_text(json.dumps(without_block(config), indent=2) + "\n", encoding="utf-8")
    carry_companions(source, destination)
    return {"unpacked": len(layers), "reordered": len(layers) - len(codes) // 3}


def _read(layer: str, files: WeightFiles, layout: Format, block: Mapping[str, Any]) -> Packed:
    tensors = {part: files.array(f"{layer}.{part}") for part in _PARTS if f"{layer}.{part}" in files.names}
    lacking = [part for part in _PARTS[:3] if part not in tensors]
    if lacking:
        raise CheckFailed("OBE96", f"the quantized weight `{layer}` has no `{lacking[0]}`")
    size = group_size_of(block)
    if layout == "awq":
        return read_awq(layer, tensors, group_size=size)
    return read_gptq(layer, tensors, group_size=size, second=block.get("checkpoint_format") == "gptq_v2")


def _as_stored(packed: Packed, layer: str, config: Mapping[str, Any]) -> np.ndarray:
    """The weight as its class keeps it: Linear as [outputs, inputs], Conv1D as [inputs, outputs]."""
    is_conv1d = config.get("model_type") in CONV1D_TYPES and not layer.endswith("lm_head")
    values = packed.values()
    return values if is_conv1d else np.ascontiguousarray(values.T)


def _kept(layer: str, packed: Packed) -> Iterator[tuple[str, np.ndarray]]:
    """The codes two per byte, the first in the low half; zero points and scales as they are."""
    yield f"{layer}.codes", packed.codes[::2] | packed.codes[1::2] << 4
    yield f"{layer}.zeros", packed.zeros
    yield f"{layer}.scales", packed.scales


def _others(files: WeightFiles, layers: list[str]) -> list[str]:
    packed = {f"{layer}.{part}" for layer in layers for part in _PARTS}
    return [name for name in files.names if name not in packed]


def _save_codes(codes: Mapping[str, np.ndarray], path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in sorted(codes.items())}, path)
