"""precision: converts the floating-point weights and activations of a graph to fp16 or bf16."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from onnxbuild.steps.dataset_rows import (
    DerivedRows,
    Rows,
    RowSeed,
    Samples,
    Sequence,
    check_counts,
    check_cut,
)
from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams, trusted

# The precisions that half precision can follow, and the prefix of the result. An int8 graph computes its scales in
# fp32 and has no other form.
HALVED: Mapping[str, str] = {"fp32": "", "q4": "q4", "q4-stored": "q4", "q8": "q8", "bnb4": "bnb4"}


class PrecisionParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which precision, and what stays in fp32."""

    SHORT: ClassVar[str | None] = "dtype"
    DERIVED: ClassVar[tuple[str, ...]] = ("rows", "trust_remote_code")

    dtype: Annotated[
        Literal["fp16", "bf16"],
        Meta(description="fp16, or bf16 with the range of fp32 and fewer digits; only CUDA has kernels for bf16"),
    ]
    keep_io_types: Annotated[
        bool, Meta(description="keep inputs and outputs in fp32, so that callers need not change")
    ] = True
    keep_fp32: Annotated[
        Literal["auto"] | tuple[str, ...],
        Meta(
            description="operators and nodes that stay in fp32; `auto` runs text through the fp32 graph and keeps every"
            " node whose values exceed the range of fp16 (65504)",
            examples=["auto", ["LayerNormalization"]],
        ),
    ] = ()
    dataset: Annotated[
        str, Meta(description="dataset whose text `keep_fp32: auto` runs; without one, built-in sentences")
    ] = ""
    samples: Samples = 16
    sequence: Sequence = 128
    seed: RowSeed = 0
    rows: DerivedRows = Rows()

    @property
    def finds_overflow(self) -> bool:
        """Whether the graph has to be run to know what stays in fp32."""
        return "auto" in ((self.keep_fp32,) if isinstance(self.keep_fp32, str) else self.keep_fp32)

    @property
    def kept(self) -> tuple[str, ...]:
        """Operators and nodes that stay in fp32 by name."""
        names = () if isinstance(self.keep_fp32, str) else self.keep_fp32
        return tuple(name for name in names if name != "auto")


def _resolve(params: PrecisionParams, context: Context) -> PrecisionParams:
    """Set the fields that only `auto` reads to their defaults if it is off, so that no key depends on them."""
    if params.finds_overflow:
        return msgspec.structs.replace(params, trust_remote_code=trusted(context))
    default = PrecisionParams(dtype=params.dtype)
    return msgspec.structs.replace(
        params, samples=default.samples, sequence=default.sequence, seed=default.seed, rows=default.rows
    )


def _check(params: PrecisionParams, context: Context) -> Iterable[Fault]:
    if context.precision not in HALVED:
        computes_fp32 = context.precision == "int8"
        why = "computes in fp32 between its integers" if computes_fp32 else "is in half precision already"
        yield Fault(
            code="OB411",
            message=f"{params.dtype} of a graph that is {context.precision}: it {why}",
            hint="use `precision:` on an fp32 graph, or after `quantize: {method: weight-only}`",
        )
    if params.dtype == "bf16" and context.device != "cuda":
        yield Fault(
            code="OB412",
            field="dtype",
            message="ONNX Runtime has no bf16 kernels for the CPU (MatMul, Add, Softmax and most others)",
            hint="use fp16, or set `device: cuda` in the target",
        )
    if params.dtype == "bf16" and params.finds_overflow:
        yield Fault(
            code="OB413",
            field="keep_fp32",
            message="`keep_fp32: auto` finds nodes that overflow in fp16, and bf16 has the range of fp32",
            hint="remove it",
        )
    if context.precision == "bnb4" and context.device != "cuda":
        yield Fault(
            code="OB412",
            field="dtype",
            message="on the CPU, ONNX Runtime's kernel for NF4 and FP4 weights takes only fp32",
            hint="leave `precision:` out, or set `device: cuda` in the target",
        )
    if not params.finds_overflow and params.dataset:
        yield Fault(
            code="OB413",
            field="dataset",
            message="`dataset` has no effect without `keep_fp32: auto`",
            hint="only `auto` runs text through the graph",
        )
    yield from check_counts(params)
    yield from check_cut(params, context)


def precision_after(params: PrecisionParams, before: str) -> str:
    """The name of the precision that these params make of a graph: q4 with fp16 activations is `q4f16`."""
    kept = HALVED.get(before, "")
    return f"{kept}{params.dtype.replace('fp16', 'f16')}" if kept else params.dtype


PRECISION = Kind(
    name="precision",
    version=3,
    params=PrecisionParams,
    inputs={"model": "onnx"},
    outputs={"model": "onnx"},
    worker="onnxbuild.workers.precision.worker:run",
    pure=True,
    packages=lambda _params: ("onnxruntime", "onnx", "transformers"),
    resolve=_resolve,
    check=_check,
    precision_after=lambda params, context: precision_after(params, context.precision),
    columns=lambda params, _context: ("text",) if params.finds_overflow else (),
    memory_factor=4.0,
)
