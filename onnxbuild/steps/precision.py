"""precision: floating-point weights and activations of a graph as fp16 or bf16, also those that quantize left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import msgspec

from onnxbuild.steps.dataset_rows import Rows
from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams, trusted

# What half precision can follow, and what it makes of it. An int8 graph computes its scales in fp32 and nothing else.
HALVED: Mapping[str, str] = {"fp32": "", "q4": "q4", "q8": "q8", "bnb4": "bnb4"}


class PrecisionParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Half precision for all that is fp32 in a graph, but for what has to stay.

    `dtype`: fp16, or bf16 with the range of fp32 and fewer digits (CUDA alone has its kernels). `keep_io_types`:
    inputs and outputs stay fp32, so that whoever feeds the graph need not change. `keep_fp32`: names of operators
    (`LayerNormalization`) and of nodes that stay in fp32; `auto` among them or alone runs text through the fp32 graph
    and keeps every node whose values exceed what fp16 can hold (65504). `dataset`: the dataset with the text for
    `auto`; without one, sentences of our own, or seeded values for what reads no text. `samples`: how many rows of it.
    `sequence`: tokens of a row at most. `seed`: which rows.
    """

    SHORT: ClassVar[str | None] = "dtype"
    DERIVED: ClassVar[tuple[str, ...]] = ("rows", "trust_remote_code")

    dtype: Literal["fp16", "bf16"]
    keep_io_types: bool = True
    keep_fp32: Literal["auto"] | tuple[str, ...] = ()
    dataset: str = ""
    samples: int = 16
    sequence: int = 128
    seed: int = 0
    rows: Rows = Rows()

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
    """What only `auto` reads goes back to its default, so that no key hangs on it."""
    if params.finds_overflow:
        return msgspec.structs.replace(params, trust_remote_code=trusted(context))
    default = PrecisionParams(dtype=params.dtype)
    return msgspec.structs.replace(
        params, samples=default.samples, sequence=default.sequence, seed=default.seed, rows=default.rows
    )


def _check(params: PrecisionParams, context: Context) -> Iterable[Fault]:
    if context.precision not in HALVED:
        why = (
            "is computed in fp32 between its integers"
            if context.precision == "int8"
            else "is in half precision already"
        )
        yield Fault(
            code="OB411",
            message=f"{params.dtype} of a graph that is {context.precision}: it {why}",
            hint="`precision:` goes with an fp32 graph, or one of `method: weight-only`",
        )
    if params.dtype == "bf16" and context.device != "cuda":
        yield Fault(
            code="OB412",
            field="dtype",
            message="ONNX Runtime has no bf16 kernels for the CPU (MatMul, Add, Softmax and most others)",
            hint="fp16, or `device: cuda` in the target",
        )
    if params.dtype == "bf16" and params.finds_overflow:
        yield Fault(
            code="OB413",
            field="keep_fp32",
            message="`keep_fp32: auto` finds what overflows in fp16, and nothing overflows in bf16",
            hint="leave it out",
        )
    if context.precision == "bnb4" and context.device != "cuda":
        yield Fault(
            code="OB412",
            field="dtype",
            message="ONNX Runtime's kernel for NF4 and FP4 weights takes fp32 alone on the CPU",
            hint="leave `precision:` out, or `device: cuda` in the target",
        )
    if not params.finds_overflow and params.dataset:
        yield Fault(
            code="OB413",
            field="dataset",
            message="`dataset` has no effect without `keep_fp32: auto`",
            hint="it is the text that `auto` runs through the graph",
        )
    for field in ("samples", "sequence"):
        if getattr(params, field) < 1:
            yield Fault(code="OB612", field=field, message=f"`{field}` expects a number from 1")


PRECISION = Kind(
    name="precision",
    version=2,
    params=PrecisionParams,
    inputs={"model": "onnx"},
    outputs={"model": "onnx"},
    worker="onnxbuild.workers.precision.worker:run",
    packages=lambda _params: ("onnxruntime", "onnx", "transformers"),
    resolve=_resolve,
    check=_check,
    memory_factor=4.0,
)


def precision_after(params: PrecisionParams, before: str) -> str:
    """The name of the precision that these params make of a graph: q4 with fp16 activations is `q4f16`."""
    kept = HALVED.get(before, "")
    return f"{kept}{params.dtype.replace('fp16', 'f16')}" if kept else params.dtype
