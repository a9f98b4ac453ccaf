"""quantize: int8 with ranges taken at run time or from data, or weights of 4 and 8 bits, in every file of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET

from onnxbuild.steps.dataset_rows import Rows
from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams, Params, trusted

Preset = Literal["auto", "arm64", "avx2", "avx512", "avx512_vnni"]
Method = Literal["dynamic", "static", "weight-only"]
Algorithm = Literal["rtn", "hqq", "k_quant", "gptq", "nf4", "fp4"]
Bits = Literal[4, 8]
BlockSize = Literal[16, 32, 64, 128, 256]
AccuracyLevel = Literal[0, 1, 2, 3, 4]

_WEIGHT_ONLY = ("bits", "block_size", "symmetric", "accuracy_level", "algorithm")
_INT8 = ("preset", "per_channel", "operators")
_DATA = ("dataset", "samples", "sequence", "seed")

# The fields that only some methods read: naming one with another is a mistake that would pass in silence.
_OF_METHOD: Mapping[str, tuple[str, ...]] = {
    "dynamic": _INT8,
    "static": (*_INT8, "activations", "calibration", "percentile", *_DATA),
    "weight-only": (*_WEIGHT_ONLY, *_DATA),
}

_UNUSED_BY_BNB4: Mapping[str, str] = {
    "symmetric": "its 16 values are fixed",
    "accuracy_level": "its kernel computes in the type of the activations",
    **dict.fromkeys(_DATA, "it looks at weights alone"),
}

# Of the fields of weight-only, those that an algorithm has no use for, and why.
_NOT_OF_ALGORITHM: Mapping[str, Mapping[str, str]] = {
    "rtn": dict.fromkeys(_DATA, "it looks at weights alone"),
    "hqq": {
        "symmetric": "it always has zero points",
        "accuracy_level": "its zero points are floats, for which there is no integer kernel",
        **dict.fromkeys(_DATA, "it looks at weights alone"),
    },
    "k_quant": {"symmetric": "it always has zero points", **dict.fromkeys(_DATA, "it looks at weights alone")},
    "gptq": {},
    "nf4": _UNUSED_BY_BNB4,
    "fp4": _UNUSED_BY_BNB4,
}

# Algorithms that come with one number of bits: an 8-bit HQQ graph loads and fails in its first MatMul ("Only 2b and 4b
# quantization is supported for unpacked compute").
_FOUR_BITS = ("hqq", "gptq", "nf4", "fp4")

# Tasks whose inputs are no text: calibration reads rows of text.
_NOT_OF_TEXT = ("image-classification", "zero-shot-image-classification", "audio-classification",
                "automatic-speech-recognition", "automatic-speech-recognition-with-past")  # fmt: skip


class ModuleParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one file of a model gets instead of what the others get."""

    method: Literal["dynamic", "weight-only"] | None = None
    per_channel: bool | None = None
    operators: tuple[str, ...] | None = None
    bits: Bits | None = None
    block_size: BlockSize | None = None
    symmetric: bool | None = None
    accuracy_level: AccuracyLevel | None = None
    algorithm: Algorithm | None = None


class QuantizeParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to quantize.

    dynamic: int8 weights, activations quantized at run time; `preset` picks the integer types for a CPU (`auto`: this
    one), `per_channel` one scale per output channel, `operators` the types to quantize, all by default. static: the
    same with ranges of activations from text, as QDQ; `operators` is MatMul by default. `activations`: their bits, 8 or
    16. `calibration`: minmax, entropy or percentile, which keeps `percentile` percent of the values. `dataset`: that
    which static and GPTQ take text from, by its name. `samples`: how many rows of it. `sequence`: tokens of a row at
    most. `seed`: which rows. weight-only: `bits` 4 or 8. `block_size`: weights along the input dimension that share a
    scale (16 to 256, a power of two). `accuracy_level`: what is computed in, from 0 fp32 to 4 int8, which is many times
    faster on CPUs at equal accuracy. `symmetric`: no zero points. `algorithm`: rtn rounds; hqq and k_quant fit scales
    to the weights; gptq to text; nf4 and fp4 are the 4-bit floats of bitsandbytes. `exclude`: names of nodes that stay
    as they are. `modules`: by the name of a file without `.onnx` (`encoder_model`, `decoder*`) what differs there, or
    `fp32` to leave it; `decoder_model_merged` stands for both parts that it is merged from.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("rows", "trust_remote_code")

    method: Method
    preset: Preset = "auto"
    per_channel: bool = True
    operators: tuple[str, ...] = ()
    activations: Literal[8, 16] = 8
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    percentile: float = 99.999
    dataset: str = ""
    samples: int = 64
    sequence: int = 128
    seed: int = 0
    bits: Bits = 4
    block_size: BlockSize = 32
    symmetric: bool = False
    accuracy_level: AccuracyLevel = 4
    algorithm: Algorithm = "rtn"
    exclude: tuple[str, ...] = ()
    modules: Mapping[str, Literal["fp32"] | ModuleParams] = {}
    rows: Rows = Rows()

    @property
    def reads_text(self) -> bool:
        """Whether it takes more than the weights to quantize."""
        return self.method == "static" or (self.method == "weight-only" and self.algorithm == "gptq")


def with_module(params: QuantizeParams, module: ModuleParams) -> QuantizeParams:
    """The params of one file: what the module says over what the model says."""
    said = {name: value for name in module.__struct_fields__ if (value := getattr(module, name)) is not None}
    return msgspec.structs.replace(params, modules={}, **said)


def each_module(params: QuantizeParams) -> Iterable[QuantizeParams]:
    """The params of every file that is quantized: those of the model first."""
    yield msgspec.structs.replace(params, modules={})
    yield from (with_module(params, module) for module in params.modules.values() if module != "fp32")


def _resolve(params: QuantizeParams, context: Context) -> QuantizeParams:
    """Settle `preset: auto`, and set the fields that nobody reads to their defaults, so that no key hangs on them."""
    default = QuantizeParams(method=params.method)
    uses = list(each_module(params))
    read = {name for one in uses for name in _OF_METHOD[one.method]}
    foreign = {name for names in _OF_METHOD.values() for name in names} - read
    preset = params.preset
    if "preset" in read and preset == "auto":
        preset = context.machine.int8_preset  # type: ignore[assignment]
    reads_text = any(one.reads_text for one in uses)
    if not reads_text:
        foreign |= {*_DATA, "rows"}
    if params.calibration != "percentile":
        foreign.add("percentile")
    # Names that form a set: their order and repetitions change nothing, and so no key.
    names = {name: tuple(sorted(set(getattr(params, name)))) for name in ("operators", "exclude")}
    trust = trusted(context) if reads_text else UNSET  # the tokenizer alone may bring code
    settled = msgspec.structs.replace(params, preset=preset, trust_remote_code=trust, **names)
    return msgspec.structs.replace(settled, **{name: getattr(default, name) for name in foreign})


def _check(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    if context.precision != "fp32":
        yield Fault(
            code="OB511" if context.precision in {"fp16", "bf16"} else "OB512",
            message=f"quantize of a graph that is {context.precision} already",
            hint="quantize the fp32 graph: one quantize a target, and no fp16 before it",
        )
    default = QuantizeParams(method=params.method)
    yield from _check_fields(params, {n: n for n in _all_fields() if getattr(params, n) != getattr(default, n)})
    for name, module in params.modules.items():
        if module != "fp32":
            said = {n: "modules" for n in module.__struct_fields__ if n != "method" and getattr(module, n) is not None}
            yield from _check_fields(with_module(params, module), said, f" in `{name}`")
    if params.method == "static":
        yield from _check_static(params, context)
    uses = list(each_module(params))
    if any(one.reads_text for one in uses):
        yield from _check_data(params, context)
    if params.calibration == "percentile" and not 50 < params.percentile <= 100:  # noqa: PLR2004
        yield Fault(code="OB531", field="percentile", message="`percentile` expects a number above 50, up to 100")


def _check_fields(params: QuantizeParams, written: Mapping[str, str], where: str = "") -> Iterable[Fault]:
    """What is written and not read; `written` maps each such field to the one where a person finds it."""
    unused = _NOT_OF_ALGORITHM[params.algorithm] if params.method == "weight-only" else {}
    for name, field in written.items():
        if name not in _OF_METHOD[params.method]:
            methods = " and ".join(f"`method: {method}`" for method, names in _OF_METHOD.items() if name in names)
            message, hint = f"`{name}` has no effect with `method: {params.method}`", f"it belongs to {methods}"
        elif name in unused:
            message, hint = f"`{name}` has no effect with `algorithm: {params.algorithm}`", unused[name]
        else:
            continue
        yield Fault(code="OB530", field=field, message=f"{message}{where}", hint=hint)
    if params.method == "weight-only" and params.algorithm in _FOUR_BITS and params.bits != 4:  # noqa: PLR2004
        yield Fault(
            code="OB530",
            field=written.get("bits", written.get("algorithm")),
            message=f"`algorithm: {params.algorithm}` has 4 bits and no other number{where}",
            hint="`bits: 8` goes with rtn and k_quant",
        )


def _all_fields() -> list[str]:
    return list(dict.fromkeys(name for names in _OF_METHOD.values() for name in names))


def _check_static(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    if context.family == "encoder-decoder":
        yield Fault(
            code="OB502",
            field="method",
            message=f"static int8 does not reach into the branches of a merged decoder (task `{context.task}`)",
            hint="`method: dynamic` quantizes each part and merges them again",
        )
    if params.modules:
        yield Fault(
            code="OB530", field="modules", message="`modules` goes with the other methods: static has one set of ranges"
        )


def _check_data(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    what = "static int8" if params.method == "static" else "GPTQ"
    if not params.dataset:
        yield Fault(
            code="OB501",
            message=f"{what} takes ranges from text, and no `dataset` is named",
            hint="name one of `datasets:`; `method: dynamic` needs none"
            if params.method == "static"
            else "name one of `datasets:`; `algorithm: k_quant` needs none",
        )
    elif context.task in _NOT_OF_TEXT:
        yield Fault(
            code="OB532",
            field="dataset",
            message=f"{what} is calibrated with text, which the task `{context.task}` does not read",
            hint="`method: dynamic` needs no data",
        )
    for field in ("samples", "sequence"):
        if getattr(params, field) < 1:
            yield Fault(code="OB612", field=field, message=f"`{field}` expects a number from 1")


# HQQ computes in torch, plain rounding does not.
_PACKAGES = ("onnxruntime", "onnx", "onnx-ir")


def _packages(params: Any) -> tuple[str, ...]:
    torch = ("torch",) if any(one.algorithm == "hqq" for one in each_module(params)) else ()
    text = ("transformers",) if any(one.reads_text for one in each_module(params)) else ()
    return (*_PACKAGES, *torch, *text)


QUANTIZE = Kind(
    name="quantize",
    version=3,
    params=QuantizeParams,
    inputs={"model": "onnx"},
    outputs={"model": "onnx"},
    worker="onnxbuild.workers.quantize.worker:run",
    packages=_packages,
    resolve=_resolve,
    check=_check,
    memory_factor=4.0,
)

# From the one that keeps most to the one that keeps least: a model is judged by the least of its files.
_ROUGHER = ("q8", "int8", "q4", "bnb4")


def precision_of(params: QuantizeParams) -> str:
    """The name of the precision that these params lead to, as thresholds and tables use it."""
    return max((_precision_of_file(one) for one in each_module(params)), key=_ROUGHER.index)


def _precision_of_file(params: QuantizeParams) -> str:
    if params.method != "weight-only":
        return "int8"
    return "bnb4" if params.algorithm in {"nf4", "fp4"} else f"q{params.bits}"
