"""compile openvino: OpenVINO's IR and the compiled blob, in fp32, with a hint of bf16, or quantized by NNCF."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from onnxbuild.steps.compiling.backend_kind import Backend, CompileParams
from onnxbuild.steps.kind import Context

Precision = Literal["f32", "bf16"]


class OpenvinoParams(CompileParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How OpenVINO compiles the graph."""

    DERIVED: ClassVar[tuple[str, ...]] = CompileParams.DERIVED

    precision: Annotated[
        Precision, Meta(description="in what OpenVINO computes; bf16 is fast on CPUs with instructions for it")
    ] = "f32"


def _precision_after(params: OpenvinoParams, context: Context) -> str:
    return "bf16" if params.precision == "bf16" and context.precision == "fp32" else context.precision


OPENVINO = Backend(
    name="openvino",
    summary="OpenVINO: the model as IR, and compiled for the CPU",
    version=1,
    params=OpenvinoParams,
    worker="onnxbuild.workers.compile.openvino.openvino_worker:run",
    engine="onnxbuild.workers.engines.compiled.openvino_engine:OpenvinoModel",
    verified_on="device",
    packages=lambda _params: ("onnx",),
    compiler=lambda _params: ("openvino",),
    runs_with=lambda _params: ("openvino",),
    precision_after=_precision_after,
    pure=True,
)
