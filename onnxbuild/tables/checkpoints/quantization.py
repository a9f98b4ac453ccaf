"""Quantized checkpoints: what `quantization_config` says, and which of them can be written out without loss.

GPTQ and AWQ with 4 bits store integers, one scale (fp16) and one zero point for each group of inputs, so that a weight
is (code - zero) × scale, exactly, in fp32. The layouts are described in `workers/prepare/packed_formats.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from msgspec import Struct

Format = Literal["gptq", "awq"]

# The file of codes and scales that `prepare` writes beside the weights, for `quantize: stored`.
CODES = "stored_codes.safetensors"
# Where older tools keep what belongs into config.json.
SEPARATE_CONFIGS = ("quantize_config.json", "quant_config.json")
# Model types whose layers are Conv1D, which keeps a weight as [inputs, outputs].
CONV1D_TYPES = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})

_NAMES: Mapping[str, str] = {
    "gptq": "GPTQ", "awq": "AWQ", "bitsandbytes": "bitsandbytes", "fp8": "FP8", "fbgemm_fp8": "FP8",
    "compressed-tensors": "compressed-tensors",
}  # fmt: skip
_BITS = 4
_READ: Mapping[str, Format] = {"gptq": "gptq", "awq": "awq"}
_PLACES = ("quantization_config", "compression_config")


class Quantized(Struct, frozen=True, kw_only=True):
    """A quantized checkpoint: what it is in words, the format that can be written out, or why it cannot be."""

    what: str
    format: Format | None = None
    why: str = ""
    reordered: bool = False  # the inputs of a group are not next to each other (GPTQ's `desc_act`)
    base: str = ""  # the unquantized model, where the config names it


def quantized_of(config: Mapping[str, Any] | None) -> Quantized | None:
    """What a config.json says about quantized weights; None if the weights are plain."""
    block = block_of(config)
    if block is None:
        return None
    method = str(block.get("quant_method") or _old_method(block))
    what = f"{_NAMES.get(method, method or 'an unknown method')}{_details(method, block)}"
    why = _obstacle(method, block)
    return Quantized(
        what=what,
        format=_READ[method] if why == "" else None,
        why=why,
        reordered=bool(block.get("desc_act")) and block.get("group_size") != -1,
        base=_base(config or {}),
    )


def block_of(config: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The part of a config.json that describes quantized weights, of the model itself or of its language model."""
    for one in (config or {}, (config or {}).get("text_config")):
        blocks = (one.get(place) for place in _PLACES) if isinstance(one, Mapping) else ()
        block = next((block for block in blocks if isinstance(block, Mapping) and block), None)
        if block is not None:
            return block
    return None


def without_block(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json as that of the same model with plain weights in fp32."""
    plain = {name: value for name, value in config.items() if name not in _PLACES}
    return {**plain, **{name: "float32" for name in ("dtype", "torch_dtype") if name in plain}}


def group_size_of(block: Mapping[str, Any]) -> int:
    """The inputs that share a scale; -1 for all."""
    size = block.get("group_size", block.get("q_group_size", 128))
    return size if isinstance(size, int) else 0


def separate_config(names: Collection[str], config: Mapping[str, Any] | None) -> str | None:
    """The file that says that weights are quantized where config.json does not."""
    found = (name for name in SEPARATE_CONFIGS if name in names)
    return next(found, None) if block_of(config) is None else None


def _old_method(block: Mapping[str, Any]) -> str:
    """The method of a block without a name: only bitsandbytes, the first of them, wrote none."""
    return "bitsandbytes" if "load_in_8bit" in block or "load_in_4bit" in block else ""


def _details(method: str, block: Mapping[str, Any]) -> str:
    bits = block.get("bits", block.get("w_bit"))
    if method == "bitsandbytes":
        four = block.get("load_in_4bit")
        return f", {block.get('bnb_4bit_quant_type') or 'fp4'}" if four else ", int8"
    if method == "compressed-tensors":
        return f", {block['format']}" if block.get("format") else ""
    return f", {bits} bits" if bits else ""


def _obstacle(method: str, block: Mapping[str, Any]) -> str:
    """Why weights cannot be written out without loss; empty if they can."""
    if method not in _READ:
        return "its weights are read only by its own kernels"
    bits = block.get("bits", block.get("w_bit", _BITS))
    if bits != _BITS:
        return f"only weights of {_BITS} bits are read, and it has {bits}"
    layout = str(block.get("checkpoint_format" if method == "gptq" else "version", "")).lower()
    if layout not in {"gptq": {"", "gptq", "gptq_v2"}, "awq": {"", "gemm"}}[method]:
        return f"its layout is `{layout}`, and only {'gptq and gptq_v2' if method == 'gptq' else 'gemm'} can be read"
    size = group_size_of(block)
    return "" if size == -1 or size > 0 else f"it has groups of {size}"


def _base(config: Mapping[str, Any]) -> str:
    """The model that was quantized, as far as the config remembers where it was loaded from."""
    name = config.get("_name_or_path")
    is_name = isinstance(name, str) and name.count("/") == 1 and not name.startswith((".", "/", "~"))
    marks = ("gptq", "awq", "bnb", "4bit", "8bit", "fp8", "int4", "int8", "w4a16", "w8a8", "quant")
    return str(name) if is_name and not any(mark in str(name).lower() for mark in marks) else ""
