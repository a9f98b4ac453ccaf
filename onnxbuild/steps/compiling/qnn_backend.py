"""compile qnn: a context binary for the HTP of Qualcomm's processors, made and run without the device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from onnxbuild.steps.compiling.backend_kind import Backend, CompileParams, check_device
from onnxbuild.steps.compiling.sizes_of_calls import check_tokens
from onnxbuild.steps.dataset_rows import DerivedRows, Rows, RowSeed, Samples, check_call, check_counts, check_length
from onnxbuild.steps.kind import Context, Fault

QNN_DISTRIBUTION = "onnxruntime-qnn"
FAMILIES = ("encoder",)


class QnnParams(CompileParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the graph is quantized and compiled for the HTP, which takes integers and fixed shapes."""

    DERIVED: ClassVar[tuple[str, ...]] = (*CompileParams.DERIVED, "rows")

    precision: Annotated[
        Literal["a16w8", "a8w8"], Meta(description="bits of activations and of weights; 16 and 8 are more exact")
    ] = "a16w8"
    batch: Annotated[int, Meta(description="rows of a call")] = 1
    sequence: Annotated[int, Meta(description="tokens of a row; shorter rows are padded")] = 128
    dataset: Annotated[
        str,
        Meta(description="name of the dataset on which ranges are measured; else the texts that come with onnxbuild"),
    ] = ""
    samples: Samples = 64
    seed: RowSeed = 0
    rows: DerivedRows = Rows()
    soc_model: Annotated[
        str | UnsetType, Meta(description="number of the processor, as Qualcomm's SDK has it; by default, any")
    ] = UNSET
    htp_arch: Annotated[
        Literal["68", "69", "73", "75", "79", "81"] | UnsetType, Meta(description="version of the HTP, such as 75")
    ] = UNSET
    optimization: Annotated[
        Literal["1", "2", "3"] | UnsetType, Meta(description="how long the compiler searches: 3 is the longest")
    ] = UNSET


def _check(params: QnnParams, context: Context) -> Iterable[Fault]:
    yield from check_device("qnn", context)
    if context.family not in FAMILIES:
        message = f"`qnn` compiles a graph for one shape, and the inputs of a {context.family} grow with each token"
        yield Fault(code="OB821", field="backend", message=message, hint="compile an encoder")
    if context.precision != "fp32":
        message = f"`qnn` quantizes the fp32 graph itself, and this one is already {context.precision}"
        yield Fault(code="OB822", message=message, hint="remove the step before it; `precision: a8w8` is int8")
    if params.batch < 1:
        yield Fault(code="OB612", field="batch", message="`batch` expects a number from 1")
    yield from check_counts(params)
    yield from check_length("sequence", params.sequence, context)
    yield from check_call("sequence", params.batch, params.sequence)
    if context.family in FAMILIES:
        yield from check_tokens("qnn", context, "compile an encoder of texts, or choose another backend")


QNN = Backend(
    name="qnn",
    summary="Qualcomm HTP: an integer graph of one shape as a context binary, run in Qualcomm's emulator",
    version=1,
    params=QnnParams,
    worker="onnxbuild.workers.compile.qnn.qnn_worker:run",
    engine="onnxbuild.workers.engines.compiled.qnn_engine:QnnModel",
    verified_on="emulator",
    packages=lambda _params: ("onnx", "onnxruntime"),
    compiler=lambda _params: (QNN_DISTRIBUTION,),
    runs_with=lambda _params: (QNN_DISTRIBUTION,),
    call_limits=lambda params: {"sequence": params.sequence},
    check=_check,
    columns=lambda params, _context: ("text",) if params.dataset else (),
    precision_after=lambda _params, _context: "int8",
    pure=True,  # Qualcomm's compiler runs in a process of its own
)
