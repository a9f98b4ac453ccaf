"""compile ort: the graph as ONNX Runtime optimizes it for a CPU, done once instead of in every start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onnxbuild.steps.compiling.backend_kind import Backend, CompileParams, check_device
from onnxbuild.steps.kind import Context, Fault

Level = Literal["basic", "extended", "all"]


class OrtParams(CompileParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How ONNX Runtime optimizes the graph ahead of time."""

    DERIVED: ClassVar[tuple[str, ...]] = (*CompileParams.DERIVED, "cpu")

    format: Annotated[
        Literal["onnx", "ort"],
        Meta(
            description="`onnx`, or `ort`: the format of builds of ONNX Runtime with fewer operators, whose list is"
            " written beside it"
        ),
    ] = "onnx"
    level: Annotated[
        Level,
        Meta(
            description="`all` also chooses layouts and kernels for the CPU that compiles, and then holds for CPUs with"
            " the same instructions"
        ),
    ] = "all"
    type_reduction: Annotated[
        bool | UnsetType, Meta(description="also list the types that each operator needs (`format: ort`)")
    ] = UNSET
    cpu: Annotated[
        str | UnsetType, Meta(description="instructions of the CPU that the graph holds for; unset for all CPUs")
    ] = UNSET


def _resolve(params: OrtParams, context: Context) -> OrtParams:
    return msgspec.structs.replace(params, cpu=context.machine.int8_preset if params.level == "all" else UNSET)


def _check(params: OrtParams, context: Context) -> Iterable[Fault]:
    yield from check_device("ort", context)
    if params.type_reduction is not UNSET and params.format != "ort":
        message = "`type_reduction` has no effect with `format: onnx`"
        yield Fault(code="OB820", field="type_reduction", message=message, hint="write `format: ort`")


ORT = Backend(
    name="ort",
    summary="ONNX Runtime: the optimized graph, as ONNX or in the format of its small builds",
    version=1,
    params=OrtParams,
    worker="onnxbuild.workers.compile.ort.ort_worker:run",
    engine="onnxbuild.workers.engines.compiled.ort_engine:OrtModel",
    verified_on="device",
    packages=lambda _params: ("onnx",),
    compiler=lambda _params: ("onnxruntime",),
    runs_with=lambda _params: ("onnxruntime",),
    resolve=_resolve,
    check=_check,
    pure=True,
)
