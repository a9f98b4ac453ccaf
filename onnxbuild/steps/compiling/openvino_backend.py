"""compile openvino: OpenVINO's IR and the compiled blob, in fp32 or bf16, or with weights or products in integers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onnxbuild.steps.compiling.backend_kind import Backend, CompileParams
from onnxbuild.steps.compiling.int8_rows import DATA, check_rows, check_unread
from onnxbuild.steps.dataset_rows import DerivedRows, Rows, check_halves, check_length
from onnxbuild.steps.kind import Context, Fault
from onnxbuild.steps.quantizing.bounds_of_search import Metric, check_bounds
from onnxbuild.tables.compiling.inner_sizes import inner_sizes

_RANGE = re.compile(r"([1-9][0-9]{0,6})(?:\.\.([1-9][0-9]{0,6}))?")
_OF_INT8 = ("calibration", "subject_to", *DATA)
_GROUP = 128  # weights that share a scale in NNCF, unless it is told otherwise


class OpenvinoParams(CompileParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How OpenVINO compiles the graph for the CPU."""

    DERIVED: ClassVar[tuple[str, ...]] = (*CompileParams.DERIVED, "rows")

    precision: Annotated[
        Literal["f32", "bf16"],
        Meta(description="in what OpenVINO computes; bf16 is fast on CPUs that have instructions for it"),
    ] = "f32"
    quantize: Annotated[
        Literal["int8"] | UnsetType,
        Meta(description="products in int8, by NNCF with its preset for transformers, from texts that the model reads"),
    ] = UNSET
    # Both are left out of the key where they are unset.
    calibration: Annotated[
        Literal["minmax", "mean"] | UnsetType,
        Meta(
            description="with `quantize: int8`: ranges hold all values of all texts (`minmax`, the default), or are the"
            " mean of the ranges of the texts"
        ),
    ] = UNSET
    subject_to: Annotated[
        Mapping[Metric, str] | UnsetType,
        Meta(
            description="with `quantize: int8`: bounds that each graph keeps on text that it was not calibrated with,"
            " against the graph that comes in; as few operations as reach them stay in float",
            examples=[{"cosine_mean": ">= 0.996"}],
        ),
    ] = UNSET
    weights: Annotated[
        Literal["int8", "int4"] | UnsetType,
        Meta(description="weights in integers, by NNCF; products stay in `precision`"),
    ] = UNSET
    group_size: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType,
        Meta(description="with `weights: int4`: weights that share a scale, by default 128", examples=[32]),
    ] = UNSET
    bounds: Annotated[
        Mapping[str, int | str] | UnsetType,
        Meta(
            description="the least and the largest size of a free axis, by its name, or its only size",
            examples=[{"sequence_length": "1..512"}, {"batch_size": 1, "sequence_length": 128}],
        ),
    ] = UNSET
    dataset: Annotated[
        str, Meta(description="name of the dataset that `quantize: int8` reads; without it, texts of onnxbuild")
    ] = ""
    samples: Annotated[int, Meta(description="number of texts that `quantize: int8` reads, 1 or more")] = 48
    sequence: Annotated[int, Meta(description="maximum number of tokens per text; longer texts are cut")] = 128
    seed: Annotated[int, Meta(description="seed that chooses the rows of the dataset")] = 0
    rows: DerivedRows = Rows()

    @property
    def is_quantized(self) -> bool:
        """Whether NNCF changes the model first."""
        return self.quantize is not UNSET or self.weights is not UNSET

    @property
    def sizes(self) -> Mapping[str, str]:
        """`bounds` as text: the number `128` is the same size as the text."""
        return {axis: str(size) for axis, size in (self.bounds or {}).items()}


def _resolve(params: OpenvinoParams, _context: Context) -> OpenvinoParams:
    """What is not read is set to its default, so that it is no reason to compile again. Sizes are kept as text."""
    if params.bounds is not UNSET:
        params = msgspec.structs.replace(params, bounds=params.sizes)
    if params.weights == "int4" and params.group_size is UNSET:
        params = msgspec.structs.replace(params, group_size=_GROUP)
    if params.quantize is not UNSET:
        return msgspec.structs.replace(params, calibration=params.calibration or "minmax")
    unread = OpenvinoParams()
    return msgspec.structs.replace(params, rows=unread.rows, **{name: getattr(unread, name) for name in DATA})


def _check(params: OpenvinoParams, context: Context) -> Iterable[Fault]:
    if context.device != "cpu":
        message = f"`openvino` compiles for the CPU, and this target's device is `{context.device}`"
        yield Fault(code="OB803", field="backend", message=message, hint="remove `device:` from the target")
    if params.is_quantized and context.precision != "fp32":
        field = "quantize" if params.quantize is not UNSET else "weights"
        message = f"NNCF quantizes graphs in fp32, and this one is in {context.precision}"
        yield Fault(code="OB804", field=field, message=message, hint=f"remove `{field}`, or the step before it")
    if params.quantize is not UNSET and params.weights is not UNSET:
        message = "`quantize: int8` quantizes the weights, too"
        yield Fault(code="OB804", field="weights", message=message, hint="remove one of the two")
    if params.group_size is not UNSET and params.weights != "int4":
        yield Fault(code="OB805", field="group_size", message="`group_size` has no effect without `weights: int4`")
    yield from _check_group(params, context)
    yield from _check_bounds_of_axes(params.sizes, context)
    yield from check_bounds(params.subject_to or {}, context)
    yield from check_halves(params) if params.subject_to else ()
    yield from _check_data(params, context)


def _check_group(params: OpenvinoParams, context: Context) -> Iterable[Fault]:
    """OB807 for a size of groups that NNCF refuses: the config says what the products sum over."""
    if params.weights != "int4":
        return
    group, sizes = params.group_size or _GROUP, inner_sizes(context.config)
    undivided = [f"`{name}: {size}`" for name, size in sizes.items() if size % group]
    if undivided:
        written = "group_size" in context.written
        which = f"`group_size: {group}`" if written else f"`group_size: {group}`, the default,"
        fitting = math.gcd(*sizes.values(), 1 << (group.bit_length() - 1))
        yield Fault(
            code="OB807",
            field="group_size" if written else "weights",
            message=f"{which} does not divide {', '.join(undivided)}",
            hint=f"write `group_size: {fitting}`" if fitting > 1 else "write `weights: int8`, which has no groups",
        )


def _check_bounds_of_axes(bounds: Mapping[str, str], context: Context) -> Iterable[Fault]:
    for axis, text in bounds.items():
        ends = _RANGE.fullmatch(text)
        if ends is None or (ends[2] and int(ends[1]) > int(ends[2])):
            message = f"`{axis}: {text}` is neither a range of sizes nor a single size"
            hint = "write the least and the largest size: `1..512`, or a single one: `128`"
            yield Fault(code="OB806", field="bounds", message=message, hint=hint)
        elif is_single(text):
            yield from _check_single(axis, int(text), context)


def _check_single(axis: str, size: int, context: Context) -> Iterable[Fault]:
    """OB808 for an axis that grows while text is written, and OB620 for more tokens than the model takes."""
    if "batch" in axis:
        return
    if context.task is not None and context.family != "encoder":
        message = f"`{axis}: {size}` has a single size, and the task `{context.task}` runs its graphs with many"
        hint = f"write a range: `{axis}: 1..{size}`"
        yield Fault(code="OB808", field="bounds", message=message, hint=hint)
    elif "sequence" in axis:
        yield from check_length("bounds", size, context)


def _check_data(params: OpenvinoParams, context: Context) -> Iterable[Fault]:
    if params.quantize is UNSET:
        return check_unread("quantize", _OF_INT8, context)
    return check_rows("quantize", params, context, instead="weights: int8")


def range_of(text: str) -> tuple[int, int]:
    """The ends of a range such as `1..512`; a single size is both."""
    least, _, most = text.partition("..")
    return int(least), int(most or least)


def _call_limits(params: OpenvinoParams) -> Mapping[str, int]:
    """The tokens that bounded axes take; what is no range is refused elsewhere."""
    return {axis: range_of(text)[1] for axis, text in params.sizes.items() if "sequence" in axis}


def is_single(text: str) -> bool:
    """Whether a bound is a single size, which makes an axis static."""
    return ".." not in text


def _precision_after(params: OpenvinoParams, context: Context) -> str:
    if params.quantize is not UNSET:
        return "int8"
    if params.weights is not UNSET:
        return "q4" if params.weights == "int4" else "int8"
    return "bf16" if params.precision == "bf16" and context.precision == "fp32" else context.precision


def _compiler(params: OpenvinoParams) -> tuple[str, ...]:
    return ("openvino", "nncf") if params.is_quantized else ("openvino",)


OPENVINO = Backend(
    name="openvino",
    summary="OpenVINO: the model as IR, and compiled for the CPU",
    version=1,
    params=OpenvinoParams,
    worker="onnxbuild.workers.compile.openvino.openvino_worker:run",
    engine="onnxbuild.workers.engines.compiled.openvino_engine:OpenvinoModel",
    verified_on="device",
    packages=lambda _params: ("onnx",),
    compiler=_compiler,
    runs_with=lambda _params: ("openvino",),
    call_limits=_call_limits,
    optional={"quantize": "nncf", "weights": "nncf"},
    resolve=_resolve,
    check=_check,
    precision_after=_precision_after,
    columns=lambda params, _context: ("text",) if params.dataset else (),
    pure=True,
    resumes=lambda params: "subject_to" in params,
)
