"""quantize: dynamic int8, or 4- and 8-bit weights, in every ONNX file of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from onnxbuild.steps.kind import Context, Fault, Kind, Params

Preset = Literal["auto", "arm64", "avx2", "avx512", "avx512_vnni"]

# The fields that only one method reads: naming them with the other is a mistake that would pass in silence.
_OF_METHOD: Mapping[str, tuple[str, ...]] = {
    "dynamic": ("preset", "per_channel", "operators"),
    "weight-only": ("bits", "block_size", "symmetric", "accuracy_level", "algorithm"),
}


class QuantizeParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to quantize.

    dynamic: int8 weights, activations quantized at run time; `preset` picks the integer types for a CPU (`auto`: this
    one), `per_channel` one scale per output channel. weight-only: `bits` 4 or 8 in blocks of `block_size` along the
    input dimension (16 to 256, a power of two), computed with `accuracy_level` (0 fp32 … 4 int8; 4 is many times
    faster on CPUs at equal accuracy). `exclude`: names of nodes that stay as they are.
    """

    method: Literal["dynamic", "weight-only"]
    preset: Preset = "auto"
    per_channel: bool = True
    operators: tuple[str, ...] = ()
    bits: Literal[4, 8] = 4
    block_size: Literal[16, 32, 64, 128, 256] = 32
    symmetric: bool = False
    accuracy_level: Literal[0, 1, 2, 3, 4] = 4
    algorithm: Literal["rtn", "hqq"] = "rtn"
    exclude: tuple[str, ...] = ()


def _resolve(params: QuantizeParams, context: Context) -> QuantizeParams:
    """Settle `preset: auto`, and set the fields of the other method to their defaults, so that no key hangs on them."""
    default = QuantizeParams(method=params.method)
    foreign = [name for method, names in _OF_METHOD.items() if method != params.method for name in names]
    preset = params.preset
    if params.method == "dynamic" and preset == "auto":
        preset = context.machine.int8_preset  # type: ignore[assignment]
    settled = msgspec.structs.replace(params, preset=preset)
    return msgspec.structs.replace(settled, **{name: getattr(default, name) for name in foreign})


def _check(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    if context.precision != "fp32":
        yield Fault(
            code="OB511" if context.precision in {"fp16", "bf16"} else "OB512",
            message=f"quantize of a graph that is {context.precision} already",
            hint="quantize the fp32 graph: one quantize a target, and no fp16 before it",
        )
    default = QuantizeParams(method=params.method)
    for method, names in _OF_METHOD.items():
        for name in names if method != params.method else ():
            if getattr(params, name) != getattr(default, name):
                yield Fault(
                    code="OB530",
                    field=name,
                    message=f"`{name}` has no effect with `method: {params.method}`",
                    hint=f"it belongs to `method: {method}`",
                )


# optimum-onnx merges the decoders of an encoder-decoder again; HQQ computes in torch, plain rounding does not.
_PACKAGES = ("onnxruntime", "onnx", "onnx-ir", "optimum-onnx")
_PACKAGES_OF: Mapping[str, tuple[str, ...]] = {"rtn": _PACKAGES, "hqq": (*_PACKAGES, "torch")}

QUANTIZE = Kind(
    name="quantize",
    version=1,
    params=QuantizeParams,
    inputs={"model": "onnx"},
    outputs={"model": "onnx"},
    worker="onnxbuild.workers.quantize:run",
    packages=lambda params: _PACKAGES_OF[params.algorithm],
    resolve=_resolve,
    check=_check,
    memory_factor=4.0,
)


def precision_of(params: QuantizeParams) -> str:
    """The name of the precision that these params lead to, as thresholds and tables use it."""
    return "int8" if params.method == "dynamic" else f"q{params.bits}"
