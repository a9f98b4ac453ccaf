"""export: a PyTorch checkpoint becomes ONNX files with the tokenizer and configs that loaders need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import msgspec

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.steps.kind import Context, Fault, Kind, Params
from onnxbuild.steps.tasks import TASKS

# Measured (docs/reference/export.md): below 14 scaled_dot_product_attention does not export, above 23 optimum refuses.
LOWEST_OPSET, HIGHEST_OPSET = 14, 23


class ExportParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to export. `opset` 14 to 23; `library` is what optimum loads the checkpoint with."""

    DERIVED: ClassVar[tuple[str, ...]] = ("task",)

    task: str = ""
    opset: int = 18
    exporter: Literal["optimum"] = "optimum"
    dtype: Literal["fp32", "fp16"] = "fp32"
    library: Literal["auto", "transformers", "sentence_transformers"] = "auto"
    attention: Literal["auto", "eager", "sdpa"] = "auto"


def _resolve(params: ExportParams, context: Context) -> ExportParams:
    return msgspec.structs.replace(params, task=context.task or "")


def _check(params: ExportParams, context: Context) -> Iterable[Fault]:
    if not LOWEST_OPSET <= params.opset <= HIGHEST_OPSET:
        yield Fault(
            code="OB308",
            field="opset",
            message=f"opset {params.opset} cannot be exported: expected {LOWEST_OPSET} to {HIGHEST_OPSET}",
            hint="18 is the default; 20 and up have a native Gelu",
        )
    if context.task is None:
        yield Fault(
            code="OB303",
            message="the task cannot be told from the model's config.json",
            hint=f"set `task:`, one of {', '.join(sorted(TASKS))}",
        )
    elif context.task not in TASKS:
        near = did_you_mean(context.task, TASKS)
        yield Fault(code="OB302", message=f"unknown task `{context.task}`", hint=near or f"one of {', '.join(TASKS)}")


EXPORT = Kind(
    name="export",
    version=1,
    params=ExportParams,
    inputs={"model": "checkpoint"},
    outputs={"model": "onnx"},
    worker="onnxbuild.workers.export:run",
    packages=lambda _params: ("optimum", "optimum-onnx", "transformers", "torch", "onnx"),
    resolve=_resolve,
    check=_check,
    memory_factor=6.0,
)
