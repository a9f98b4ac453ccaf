"""compile openvino: OpenVINO's IR and the compiled blob, in fp32 or bf16, or with weights or products in integers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onnxbuild.steps.compiling.backend_kind import Backend, CompileParams
from onnxbuild.steps.dataset_rows import DerivedRows, Rows, check_counts, check_cut
from onnxbuild.steps.kind import Context, Fault
from onnxbuild.tables.tasks import reads_text_rows

_RANGE = re.compile(r"([1-9][0-9]{0,6})\.\.([1-9][0-9]{0,6})")
_DATA = ("dataset", "samples", "sequence", "seed")


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
    weights: Annotated[
        Literal["int8", "int4"] | UnsetType,
        Meta(description="weights in integers, by NNCF; products stay in `precision`"),
    ] = UNSET
    group_size: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType,
        Meta(description="with `weights: int4`: weights that share a scale, by default 128", examples=[32]),
    ] = UNSET
    bounds: Annotated[
        Mapping[str, str] | UnsetType,
        Meta(
            description="the least and the largest size of a free axis, by its name",
            examples=[{"sequence_length": "1..512"}],
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


def _resolve(params: OpenvinoParams, _context: Context) -> OpenvinoParams:
    """What is not read is set to its default, so that it is no reason to compile again."""
    if params.weights == "int4" and params.group_size is UNSET:
        params = msgspec.structs.replace(params, group_size=128)
    if params.quantize is not UNSET:
        return params
    unread = OpenvinoParams()
    return msgspec.structs.replace(params, rows=unread.rows, **{name: getattr(unread, name) for name in _DATA})


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
    yield from _check_bounds(params.bounds or {})
    yield from _check_data(params, context)


def _check_bounds(bounds: Mapping[str, str]) -> Iterable[Fault]:
    for axis, text in bounds.items():
        ends = _RANGE.fullmatch(text)
        if ends is None or int(ends[1]) > int(ends[2]):
            message = f"`{axis}: {text}` is no range of sizes"
            hint = "write the least and the largest size: `1..512`"
            yield Fault(code="OB806", field="bounds", message=message, hint=hint)


def _check_data(params: OpenvinoParams, context: Context) -> Iterable[Fault]:
    if params.quantize is UNSET:
        for field in _DATA:
            if field in context.written:
                message = f"`{field}` has no effect without `quantize: int8`"
                yield Fault(code="OB805", field=field, message=message, hint="remove it")
        return
    yield from check_counts(params)
    yield from check_cut(params, context)
    if context.task is not None and not reads_text_rows(context.task):
        message = f"`quantize: int8` reads texts, which the task `{context.task}` does not"
        yield Fault(code="OB804", field="quantize", message=message, hint="use `weights: int8`, which reads nothing")


def range_of(text: str) -> tuple[int, int]:
    """The ends of a range such as `1..512`."""
    least, _, most = text.partition("..")
    return int(least), int(most)


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
    resolve=_resolve,
    check=_check,
    precision_after=_precision_after,
    columns=lambda params, _context: ("text",) if params.dataset else (),
    pure=True,
)
