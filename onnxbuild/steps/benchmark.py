"""benchmark: latency of a variant and of its baselines, interleaved in one process with equal threads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta

from onnxbuild.steps.dataset_rows import check_length
from onnxbuild.steps.kind import (
    Context,
    Fault,
    Kind,
    Library,
    OpeningParams,
    compared_by,
    library_of,
    trusted,
)


class BenchmarkParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to time: every combination of batch, sequence and threads."""

    DERIVED: ClassVar[tuple[str, ...]] = ("task", "device", "library", "trust_remote_code")

    task: Annotated[str, Meta(description="the model's task")] = ""
    device: Annotated[Literal["cpu", "cuda"], Meta(description="the target's device")] = "cpu"
    library: Library = UNSET
    batch: Annotated[tuple[int, ...], Meta(description="batch sizes, in samples", examples=[[1, 8]])] = (1,)
    sequence: Annotated[tuple[int, ...], Meta(description="sequence lengths, in tokens", examples=[[16, 128]])] = (128,)
    threads: Annotated[
        tuple[int, ...], Meta(description="numbers of threads, at most the number of cores", examples=[[1, 4]])
    ] = (1,)
    iterations: Annotated[int, Meta(description="timed calls for each combination and engine")] = 20
    warmup: Annotated[int, Meta(description="calls for each combination and engine before timing begins")] = 5
    rounds: Annotated[int, Meta(description="rounds in which the engines take turns")] = 4
    baselines: Annotated[
        tuple[Literal["torch", "torch.compile"], ...], Meta(description="PyTorch engines to compare with")
    ] = ("torch",)
    seed: Annotated[int, Meta(description="seed of the inputs")] = 0


def _resolve(params: BenchmarkParams, context: Context) -> BenchmarkParams:
    baselines = params.baselines if context.reference == "checkpoint" else ()
    return msgspec.structs.replace(
        params,
        task=context.task or "",
        device=context.device,
        sequence=_fitting(params.sequence, context),
        baselines=baselines,
        trust_remote_code=trusted(context),
        library=library_of(context.config),
    )


def _fitting(lengths: tuple[int, ...], context: Context) -> tuple[int, ...]:
    """The default length is cut to what the model takes; a length that a person wrote is not."""
    if "sequence" in context.written or context.positions is None:
        return lengths
    longest = context.positions - (context.family == "decoder")  # a decoder needs one position for its next token
    return tuple(max(1, min(one, longest)) for one in lengths)


def _check(params: BenchmarkParams, context: Context) -> Iterable[Fault]:
    for field in ("batch", "sequence", "threads", "iterations", "rounds"):
        value = getattr(params, field)
        values = value if isinstance(value, tuple) else (value,)
        if not values or min(values) < 1:
            yield Fault(code="OB612", field=field, message=f"`{field}` expects numbers from 1, found {list(values)}")
    if params.threads and max(params.threads) > context.machine.cores:
        yield Fault(
            code="OB613",
            field="threads",
            severity="warning",
            message=f"{max(params.threads)} threads on {context.machine.cores} cores measure the scheduler",
        )
    if "sequence" in context.written:
        yield from check_length("sequence", max(params.sequence, default=1), context)


BENCHMARK = Kind(
    name="benchmark",
    version=1,
    params=BenchmarkParams,
    inputs={"model": "onnx", "reference": "checkpoint | onnx"},
    outputs={"samples": "samples"},
    worker="onnxbuild.workers.benchmark.worker:run",
    pure=True,
    packages=lambda params: compared_by(params.library),
    pool="alone",
    measures=True,
    resolve=_resolve,
    check=_check,
    memory_factor=4.0,
)
