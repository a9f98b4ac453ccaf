"""quantize: int8 with ranges measured at run time or on data, or weights of 4 and 8 bits, in each file of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onnxbuild.steps.dataset_rows import (
    DerivedRows,
    Rows,
    RowSeed,
    Samples,
    Sequence,
    check_counts,
    check_cut,
    check_halves,
)
from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams, Params, trusted
from onnxbuild.steps.quantizing.bounds_of_search import Metric, check_bounds
from onnxbuild.tables.checkpoints.quantization import quantized_of
from onnxbuild.tables.tasks import reads_text_rows

Preset = Literal["auto", "arm64", "avx2", "avx512", "avx512_vnni"]
Method = Literal["dynamic", "static", "weight-only", "stored", "auto"]
CHECKPOINT = "checkpoint"  # the input port of the checkpoint whose codes `stored` takes
Algorithm = Literal["rtn", "hqq", "k_quant", "gptq", "nf4", "fp4"]
Bits = Literal[4, 8]
BlockSize = Literal[16, 32, 64, 128, 256]
AccuracyLevel = Literal[0, 1, 2, 3, 4]
Smooth = Literal["auto", "off"] | float

_WEIGHT_ONLY = ("bits", "block_size", "symmetric", "accuracy_level", "algorithm")
_INT8 = ("preset", "per_channel", "operators")
_DATA = ("dataset", "samples", "sequence", "seed")

# The fields that only some methods read. Without a check, one given to another method would be ignored silently.
_OF_METHOD: Mapping[str, tuple[str, ...]] = {
    "dynamic": (*_INT8, "smooth", *_DATA),
    "static": (*_INT8, "activations", "calibration", "percentile", *_DATA),
    "weight-only": (*_WEIGHT_ONLY, *_DATA),
    "stored": ("accuracy_level",),
    "auto": (*_INT8, "smooth", "subject_to", "minimize", "block_size", *_DATA),
}
_OF_INTEGERS = ("dynamic", "auto")  # the methods that smooth

_UNUSED_BY_BNB4: Mapping[str, str] = {
    "symmetric": "its 16 values are fixed",
    "accuracy_level": "its kernel computes in the type of the activations",
    **dict.fromkeys(_DATA, "it reads only the weights"),
}

# From which opset on static int8 can be written: ONNX has QuantizeLinear since 10, and its axis since 13.
_PER_TENSOR_OPSET, _PER_CHANNEL_OPSET = 10, 13

# The fields of weight-only that an algorithm does not read, and why.
_NOT_OF_ALGORITHM: Mapping[str, Mapping[str, str]] = {
    "rtn": dict.fromkeys(_DATA, "it reads only the weights"),
    "hqq": {
        "symmetric": "it always has zero points",
        "accuracy_level": "its zero points are floats, for which there is no integer kernel",
        **dict.fromkeys(_DATA, "it reads only the weights"),
    },
    "k_quant": {"symmetric": "it always has zero points", **dict.fromkeys(_DATA, "it reads only the weights")},
    "gptq": {},
    "nf4": _UNUSED_BY_BNB4,
    "fp4": _UNUSED_BY_BNB4,
}

# Algorithms with 4 bits only. An 8-bit HQQ graph loads and then fails in its first MatMul ("Only 2b and 4b
# quantization is supported for unpacked compute").
_FOUR_BITS = ("hqq", "gptq", "nf4", "fp4")

# One line for each field, shared by the params of a model and those of one of its files.
_PER_CHANNEL = Meta(description="one scale for each output channel instead of one for each tensor")
_OPERATORS = Meta(
    description="operator types to quantize; the default is all for dynamic and MatMul for static",
    examples=[["MatMul"], ["MatMul", "Gemm"]],
)
_SMOOTH = Meta(
    description="move the size of large channels from activations into weights (dynamic): `auto` searches the strength"
    " of each product on text and is the default where the model reads text; a number above 0 and below 1 is the"
    " strength for all",
    examples=["off", 0.7],
)
_BITS = Meta(description="bits of a weight")
_BLOCK_SIZE = Meta(description="number of weights along the input dimension that share a scale, a power of two")
_SYMMETRIC = Meta(description="no zero points")
_ACCURACY = Meta(
    description="precision of the computation, from 0 (fp32) to 4 (int8), which is many times faster on CPUs at equal"
    " accuracy"
)
_ALGORITHM = Meta(
    description="`rtn` rounds; `hqq` and `k_quant` fit scales to the weights; `gptq` fits them to text; `nf4` and `fp4`"
    " are the 4-bit floats of bitsandbytes"
)


class ModuleParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What differs for one file of a model."""

    method: Annotated[Literal["dynamic", "weight-only"] | None, Meta(description="how to quantize this file")] = None
    per_channel: Annotated[bool | None, _PER_CHANNEL] = None
    operators: Annotated[tuple[str, ...] | None, _OPERATORS] = None
    smooth: Annotated[Smooth | UnsetType, _SMOOTH] = UNSET
    bits: Annotated[Bits | None, _BITS] = None
    block_size: Annotated[BlockSize | None, _BLOCK_SIZE] = None
    symmetric: Annotated[bool | None, _SYMMETRIC] = None
    accuracy_level: Annotated[AccuracyLevel | None, _ACCURACY] = None
    algorithm: Annotated[Algorithm | None, _ALGORITHM] = None


class QuantizeParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to quantize. Short forms: `int8` is dynamic, `int4` and `q4` are weight-only with 4 bits, `q8` with 8.

    `stored` takes the 4-bit weights that a checkpoint of GPTQ or AWQ has.
    """

    SHORT_WORDS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "int8": {"method": "dynamic"},
        "int4": {"method": "weight-only", "bits": 4},
        "q4": {"method": "weight-only", "bits": 4},
        "q8": {"method": "weight-only", "bits": 8},
        "stored": {"method": "stored"},
    }
    DERIVED: ClassVar[tuple[str, ...]] = ("rows", "trust_remote_code")

    method: Annotated[
        Method,
        Meta(
            description="`dynamic` is int8 with activations quantized at run time; `static` is int8 with ranges of"
            " activations measured on text, as QDQ; `weight-only` quantizes weights in blocks; `stored` keeps the 4-bit"
            " weights of a GPTQ or AWQ checkpoint as they are; `auto` searches the cheapest mix of int8, 8-bit weights"
            " and fp32 that keeps the bounds in `subject_to`"
        ),
    ]
    preset: Annotated[Preset, Meta(description="CPU whose integer types int8 uses; `auto` is this machine")] = "auto"
    per_channel: Annotated[bool, _PER_CHANNEL] = True
    operators: Annotated[tuple[str, ...], _OPERATORS] = ()
    # Unset without smoothing, and so left out of the key: such steps keep the keys that they had.
    smooth: Annotated[Smooth | UnsetType, _SMOOTH] = UNSET
    subject_to: Annotated[
        Mapping[Metric, str] | UnsetType,
        Meta(
            description="bounds that the result keeps on text that it was not calibrated with, against the graph that"
            " comes in (auto); `top1`, `kl_mean` and `perplexity_ratio` are of logits",
            examples=[{"cosine_mean": ">= 0.999"}, {"kl_mean": "<= 0.001", "top1": ">= 0.99"}],
        ),
    ] = UNSET
    minimize: Annotated[
        Literal["latency", "size"] | UnsetType,
        Meta(description="what the search makes small, by a table of costs and not by a clock (auto)"),
    ] = UNSET
    activations: Annotated[Literal[8, 16], Meta(description="bits of an activation (static)")] = 8
    calibration: Annotated[
        Literal["minmax", "entropy", "percentile"], Meta(description="how ranges are taken from values (static)")
    ] = "minmax"
    percentile: Annotated[
        float, Meta(description="percent of the values that `calibration: percentile` keeps, above 50 up to 100")
    ] = 99.999
    dataset: Annotated[
        str,
        Meta(
            description="name of the dataset whose text static and GPTQ read; smoothing reads it in place of the texts"
            " that come with onnxbuild"
        ),
    ] = ""
    samples: Samples = 64
    sequence: Sequence = 128
    seed: RowSeed = 0
    bits: Annotated[Bits, _BITS] = 4
    block_size: Annotated[BlockSize, _BLOCK_SIZE] = 32
    symmetric: Annotated[bool, _SYMMETRIC] = False
    accuracy_level: Annotated[AccuracyLevel, _ACCURACY] = 4
    algorithm: Annotated[Algorithm, _ALGORITHM] = "rtn"
    exclude: Annotated[
        tuple[str, ...],
        Meta(description="names of nodes that are not quantized", examples=[["/classifier/MatMul"]]),
    ] = ()
    modules: Annotated[
        Mapping[str, Literal["fp32"] | ModuleParams],
        Meta(
            description="params of single files, or `fp32`, by file name without `.onnx` or by pattern;"
            " `decoder_model_merged` means both parts that it is merged from",
            examples=[{"encoder_model": "fp32"}, {"decoder*": {"method": "weight-only"}}],
        ),
    ] = {}
    rows: DerivedRows = Rows()

    @property
    def smooths(self) -> bool:
        """Whether the products are smoothed before they are quantized; `smooth: auto` is settled by then."""
        return self.method in _OF_INTEGERS and self.smooth not in (UNSET, "off")

    @property
    def searches(self) -> bool:
        """Whether the form of each node is searched."""
        return self.method == "auto"

    @property
    def needs_rows(self) -> bool:
        """Whether quantizing needs a dataset besides the weights."""
        return self.method == "static" or (self.method == "weight-only" and self.algorithm == "gptq")

    @property
    def reads_text(self) -> bool:
        """Whether the model reads text while it is quantized."""
        return self.needs_rows or self.smooths or self.searches

    @property
    def reads_checkpoint(self) -> bool:
        """Whether the step takes codes from the checkpoint beside the graph."""
        return self.method == "stored"


def with_module(params: QuantizeParams, module: ModuleParams) -> QuantizeParams:
    """The params of one file: those of the module over those of the model."""
    given = {name: getattr(module, name) for name in _given(module)}
    return msgspec.structs.replace(params, modules={}, **given)


def _given(module: ModuleParams) -> list[str]:
    """The fields that a module sets."""
    return [name for name in module.__struct_fields__ if getattr(module, name) not in (None, UNSET)]


def each_module(params: QuantizeParams) -> Iterable[QuantizeParams]:
    """The params of every file that is quantized, those of the model first."""
    yield msgspec.structs.replace(params, modules={})
    yield from (with_module(params, module) for module in params.modules.values() if module != "fp32")


def _resolve(params: QuantizeParams, context: Context) -> QuantizeParams:
    """Settle `preset: auto` and `smooth`. Fields that nothing reads get their defaults: no key depends on them."""
    params = _with_smooth(params, context)
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
    # These names form a set: their order and repetitions must not change the key.
    if params.method == "stored" and "accuracy_level" not in context.written:
        params = msgspec.structs.replace(params, accuracy_level=0)  # exact: that is what it is for
    names = {name: tuple(sorted(set(getattr(params, name)))) for name in ("operators", "exclude")}
    trust = trusted(context) if reads_text else UNSET  # only the tokenizer can come with code
    settled = msgspec.structs.replace(params, preset=preset, trust_remote_code=trust, **names)
    return msgspec.structs.replace(settled, **{name: getattr(default, name) for name in foreign})


def _with_smooth(params: QuantizeParams, context: Context) -> QuantizeParams:
    """The params with `smooth` settled: `auto` where nothing is said and the model reads text, unset for none."""
    smooth: Any = params.smooth
    if smooth is UNSET:
        smooth = "auto" if reads_text_rows(context.task) else UNSET
    if smooth == "off" or not any(one.method in _OF_INTEGERS for one in each_module(params)):
        smooth = UNSET
    return msgspec.structs.replace(params, smooth=smooth)


def _check(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    if context.precision != "fp32":
        yield Fault(
            code="OB511" if context.precision in {"fp16", "bf16"} else "OB512",
            message=f"quantize of a graph that is already {context.precision}",
            hint="quantize the fp32 graph: one `quantize` per target, and no fp16 before it",
        )
    default = QuantizeParams(method=params.method)
    given = [n for n in _all_fields() if n in context.written or getattr(params, n) != getattr(default, n)]
    yield from _check_fields(params, {name: name for name in given})
    for name, module in params.modules.items():
        if module != "fp32":
            in_module = {field: "modules" for field in _given(module) if field != "method"}
            yield from _check_fields(with_module(params, module), in_module, f" in `{name}`")
    if params.method == "static":
        yield from _check_static(params, context)
    if params.method == "stored":
        yield from _check_stored(params, context)
    if params.searches:
        yield from _check_search(params, context)
    if any(one.needs_rows for one in each_module(params)):
        yield from _check_data(params, context)
    else:
        yield from _check_smooth(params, context)
    if params.calibration == "percentile" and not 50 < params.percentile <= 100:  # noqa: PLR2004
        yield Fault(code="OB531", field="percentile", message="`percentile` expects a number above 50, up to 100")


def _check_fields(params: QuantizeParams, written: Mapping[str, str], where: str = "") -> Iterable[Fault]:
    """OB530 for fields that are given and not read. `written` maps each field to the key that a person wrote."""
    unused = _NOT_OF_ALGORITHM[params.algorithm] if params.method == "weight-only" else {}
    for name, field in written.items():
        if name not in _OF_METHOD[params.method]:
            methods = " and ".join(f"`method: {method}`" for method, names in _OF_METHOD.items() if name in names)
            message, hint = f"`{name}` has no effect with `method: {params.method}`", f"it is a param of {methods}"
        elif name in unused:
            message, hint = f"`{name}` has no effect with `algorithm: {params.algorithm}`", unused[name]
        else:
            continue
        yield Fault(code="OB530", field=field, message=f"{message}{where}", hint=hint)
    if params.method == "weight-only" and params.algorithm in _FOUR_BITS and params.bits != 4:  # noqa: PLR2004
        yield Fault(
            code="OB530",
            field=written.get("bits", written.get("algorithm")),
            message=f"`algorithm: {params.algorithm}` supports only 4 bits{where}",
            hint="use `algorithm: rtn` or `k_quant` for 8 bits",
        )


def _all_fields() -> list[str]:
    return list(dict.fromkeys(name for names in _OF_METHOD.values() for name in names))


def _check_static(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    if context.family == "encoder-decoder":
        yield Fault(
            code="OB502",
            field="method",
            message=f"static int8 cannot quantize the branches of a merged decoder (task `{context.task}`)",
            hint="use `quantize: {method: dynamic}`, which quantizes each part and merges them again",
        )
    if context.opset is not None and context.opset < lowest_opset(params):
        of_source = context.reference == "onnx"
        yield Fault(
            code="OB627",
            field="method",
            message=why_opset_too_low(params, context.opset),
            hint=raise_opset(params, context.opset, of_source=of_source),
        )
    if params.modules:
        yield Fault(
            code="OB530",
            field="modules",
            message="`modules` has no effect with `method: static`: it has one set of ranges",
        )


def lowest_opset(params: QuantizeParams) -> int:
    """The first opset in which static int8 can be written; 16-bit activations have operators of ONNX Runtime."""
    if params.activations == 16:  # noqa: PLR2004 - bits
        return 0
    return _PER_CHANNEL_OPSET if params.per_channel else _PER_TENSOR_OPSET


def why_opset_too_low(params: QuantizeParams, opset: int) -> str:
    """The message for a graph with a lower opset than `lowest_opset`."""
    per = "channel" if params.per_channel else "tensor"
    return f"static int8 per {per} needs opset {lowest_opset(params)}, and the graph has {opset}"


def raise_opset(params: QuantizeParams, opset: int, *, of_source: bool) -> str:
    """What helps against an opset that is too low, for a graph that was exported or is the source."""
    convert = "convert the source with `onnx.version_converter`" if of_source else "set `opset: 18`, the default"
    per_tensor = params.per_channel and opset >= _PER_TENSOR_OPSET
    return f"{convert}, or write `per_channel: false`" if per_tensor else convert


def _check_stored(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    """OB635 where there are no codes to take."""
    quantized = quantized_of(context.config)
    if context.reference != "checkpoint" or quantized is None or quantized.format is None:
        yield Fault(
            code="OB635",
            field="method",
            message="`method: stored` takes weights that the checkpoint has in 4 bits, and this one has none",
            hint="`quantize: q4` quantizes plain weights; only GPTQ and AWQ have codes, until an adapter is merged",
        )
    elif quantized.reordered:
        yield Fault(
            code="OB635",
            field="method",
            message="the groups of this checkpoint are out of order (`desc_act`), which MatMulNBits cannot express",
            hint="`quantize: q4` quantizes its values again",
        )
    if params.modules:
        yield Fault(
            code="OB530", field="modules", message="`modules` has no effect with `method: stored`: it takes all weights"
        )


def _check_data(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    is_static = params.method == "static"
    what, other = ("static int8", "`quantize: {method: dynamic}`") if is_static else ("GPTQ", "`algorithm: k_quant`")
    if not params.dataset:
        yield Fault(
            code="OB501",
            message=f"{what} needs text, and no `dataset` is named",
            hint=f"name one of `datasets:`; {other} needs none",
        )
    elif not reads_text_rows(context.task):
        yield Fault(
            code="OB532",
            field="dataset",
            message=f"{what} is calibrated with text, which the task `{context.task}` does not read",
            hint=f"use {other}, which needs no data",
        )
    yield from check_counts(params)
    yield from check_cut(params, context)


def _check_search(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    """OB667 and OB668 for a search without bounds, or where it cannot be made."""
    yield from _check_subject(params, context)
    yield from check_halves(params)
    if context.graphs > 1 and context.family == "encoder":
        one = f"the source has {context.graphs}"
        yield Fault(
            code="OB668",
            field="method",
            message=f"`method: auto` searches one graph, or those of an encoder-decoder, and {one}",
            hint="write `method: dynamic`, with `modules` for single files; an encoder-decoder needs its `task`",
        )
    elif not reads_text_rows(context.task):
        yield Fault(
            code="OB668",
            field="method",
            message=f"`method: auto` measures on text, which the task `{context.task}` does not read",
            hint="write `method: dynamic`",
        )
    if params.modules:
        message = "`modules` has no effect with `method: auto`: it searches all files at once"
        yield Fault(code="OB530", field="modules", message=message)


def _check_subject(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    """OB668 for no bounds, and OB667 for bounds that are none, or of another kind of model."""
    if not params.subject_to:
        yield Fault(
            code="OB668",
            message="`method: auto` needs the bounds that the result keeps",
            hint='write `subject_to: {cosine_mean: ">= 0.999"}`',
        )
        return
    yield from check_bounds(params.subject_to, context)


def _check_smooth(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    """OB665 for a strength that is none, and the faults of the data that smoothing reads."""
    numbers = [one.smooth for one in each_module(params) if isinstance(one.smooth, float | int)]
    for number in numbers:
        if not 0 < number < 1:
            yield Fault(
                code="OB665",
                field="smooth" if number == params.smooth else "modules",
                message=f"`smooth` expects a number above 0 and below 1, found {number:g}",
                hint="`smooth: auto` searches it for each product",
            )
    if numbers and not reads_text_rows(context.task):
        yield Fault(
            code="OB666",
            field="smooth" if params.smooth in numbers else "modules",
            message=f"smoothing is measured on text, which the task `{context.task}` does not read",
            hint="remove `smooth`: without text, dynamic int8 is not smoothed",
        )
    settled = _with_smooth(params, context)
    if any(one.reads_text for one in each_module(settled)):
        yield from check_counts(params)
        yield from check_cut(params, context)
    elif params.method == "dynamic":
        yield from _check_unused_data(params, context)


def _check_unused_data(params: QuantizeParams, context: Context) -> Iterable[Fault]:
    """OB530 for data that dynamic int8 does not read because it smooths nothing."""
    why = "`smooth: off`" if params.smooth == "off" else f"a model of the task `{context.task}`, which reads no text"
    for field in _DATA:
        if field in context.written:
            yield Fault(
                code="OB530",
                field=field,
                message=f"`{field}` has no effect with {why}",
                hint="dynamic int8 reads text only to smooth",
            )


# HQQ computes with torch; plain rounding does not.
_PACKAGES = ("onnxruntime", "onnx", "onnx-ir")


def _packages(params: Any) -> tuple[str, ...]:
    torch = ("torch",) if any(one.algorithm == "hqq" for one in each_module(params)) else ()
    text = ("transformers",) if any(one.reads_text for one in each_module(params)) else ()
    return (*_PACKAGES, *torch, *text)


# From the most accurate to the least. A model is judged by its least accurate file.
_ROUGHER = ("q8", "int8", "q4", "bnb4")


def precision_of(params: QuantizeParams) -> str:
    """The name of the precision that these params produce, as thresholds and tables use it.

    Stored codes are the numbers of the reference itself, so that the bounds of fp32 hold for them.
    """
    if params.method == "stored":
        return "q4-stored"
    return max((_precision_of_file(one) for one in each_module(params)), key=_ROUGHER.index)


def _precision_of_file(params: QuantizeParams) -> str:
    if params.method != "weight-only":
        return "int8"
    return "bnb4" if params.algorithm in {"nf4", "fp4"} else f"q{params.bits}"


def _columns(params: QuantizeParams) -> tuple[str, ...]:
    return ("text",) if any(one.reads_text for one in each_module(params)) else ()


QUANTIZE = Kind(
    name="quantize",
    version=4,
    params=QuantizeParams,
    inputs={"model": "onnx"},
    outputs={"model": "onnx"},
    worker="onnxbuild.workers.quantize.worker:run",
    pure=True,
    packages=_packages,
    resolve=_resolve,
    check=_check,
    precision_after=lambda params, _context: precision_of(params),
    resumes=lambda params: params.get("method") == "auto",
    columns=lambda params, context: _columns(_with_smooth(params, context)),
    memory_factor=4.0,
)
