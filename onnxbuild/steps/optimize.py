"""optimize: graph optimization of every ONNX file of a model, at optimum's levels O1 to O4."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from onnxbuild.steps.kind import Context, Fault, Kind, Params
from onnxbuild.tables.fusions import FUSIONS


class OptimizeParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far to optimize."""

    SHORT: ClassVar[str | None] = "level"
    DERIVED: ClassVar[tuple[str, ...]] = ("device",)

    level: Annotated[
        Literal["O1", "O2", "O3", "O4"],
        Meta(
            description="O1 folds constants and removes dead nodes, O2 also fuses operators, O3 also approximates Gelu,"
            " O4 also converts to fp16 (CUDA only)"
        ),
    ]
    device: Annotated[Literal["cpu", "cuda"], Meta(description="the target's device")] = "cpu"


def _resolve(params: OptimizeParams, context: Context) -> OptimizeParams:
    return msgspec.structs.replace(params, device=context.device)


def _check(params: OptimizeParams, context: Context) -> Iterable[Fault]:
    if params.level == "O4" and context.device != "cuda":
        yield Fault(
            code="OB401",
            field="level",
            message="O4 converts to fp16 for CUDA, and this target's device is `cpu`",
            hint="use O2 or O3, or set `device: cuda` in the target",
        )
    model_type = str((context.config or {}).get("model_type") or "")
    if params.level != "O1" and model_type and model_type not in FUSIONS:
        yield Fault(
            code="OB403",
            field="level",
            message=f"{params.level} has no fusions for the model type `{model_type}`",
            hint="use O1, which works for every type, or leave `optimize:` out",
        )
    if "quantize" in context.previous:
        yield Fault(
            code="OB410",
            message="optimize comes after quantize: fusions do not match a quantized graph",
            hint="optimize first, then quantize",
        )


def _precision_after(params: OptimizeParams, context: Context) -> str:
    return "fp16" if params.level == "O4" else context.precision


OPTIMIZE = Kind(
    name="optimize",
    version=4,
    params=OptimizeParams,
    inputs={"model": "onnx"},
    outputs={"model": "onnx"},
    worker="onnxbuild.workers.optimize.worker:run",
    pure=True,
    packages=lambda _params: ("onnxruntime", "onnx", "transformers"),
    resolve=_resolve,
    check=_check,
    precision_after=_precision_after,
    memory_factor=4.0,
)
