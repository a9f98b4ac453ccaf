"""benchmark: latency of a variant and of its baselines in one process, and their throughput in several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from onnxbuild.steps.dataset_rows import Rows, check_call, check_length
from onnxbuild.steps.kind import (
    Context,
    Fault,
    Kind,
    Library,
    OpeningParams,
    RunsWith,
    compared_by,
    library_of,
    trusted,
)
from onnxbuild.tables.tasks import reads_text_rows


class Throughput(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Texts per second of every combination of these lists, on whole passes over the same texts."""

    dataset: Annotated[
        str, Meta(description="name of a dataset of texts; without it, comments that onnxbuild generates")
    ] = ""
    texts: Annotated[int, Meta(description="number of texts in each pass", examples=[10000])] = 256
    longer_than: Annotated[
        tuple[int, ...],
        Meta(description="only texts with more characters than this; each number is a set", examples=[[0, 200]]),
    ] = (0,)
    sequence: Annotated[int, Meta(description="maximum number of tokens per text; longer texts are cut")] = 512
    batch: Annotated[tuple[int, ...], Meta(description="batch sizes, in texts")] = (1, 8, 32)
    workers: Annotated[
        tuple[int, ...], Meta(description="numbers of processes that share the texts", examples=[[1, 2, 4]])
    ] = (1,)
    threads: Annotated[tuple[int, ...], Meta(description="numbers of threads of each process")] = (1,)
    order: Annotated[
        tuple[Literal["sorted", "as-is"], ...], Meta(description="texts by length, or in the order that they have")
    ] = ("sorted", "as-is")
    tokenized: Annotated[
        tuple[Literal["before", "within"], ...], Meta(description="whether the clock includes the tokenizer")
    ] = ("before",)
    rounds: Annotated[int, Meta(description="timed passes of each engine, in turn")] = 3


class BenchmarkParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to time: every combination of batch, sequence and threads."""

    DERIVED: ClassVar[tuple[str, ...]] = ("task", "device", "library", "runtime", "rows", "trust_remote_code")

    task: Annotated[str, Meta(description="the model's task")] = ""
    device: Annotated[Literal["cpu", "cuda"], Meta(description="the target's device")] = "cpu"
    library: Library = UNSET
    runtime: RunsWith = UNSET
    batch: Annotated[tuple[int, ...], Meta(description="batch sizes, in samples", examples=[[1, 8]])] = (1,)
    sequence: Annotated[tuple[int, ...], Meta(description="sequence lengths, in tokens", examples=[[16, 128]])] = (128,)
    threads: Annotated[
        tuple[int, ...], Meta(description="numbers of threads, at most the number of cores", examples=[[1, 4]])
    ] = (1,)
    iterations: Annotated[int, Meta(description="timed calls for each combination and engine")] = 20
    warmup: Annotated[int, Meta(description="calls for each combination and engine before timing begins")] = 5
    rounds: Annotated[int, Meta(description="rounds in which the engines take turns")] = 4
    baselines: Annotated[
        tuple[Literal["torch", "torch.compile", "torch.bf16", "torch.fp16"], ...],
        Meta(description="PyTorch engines to compare with"),
    ] = ("torch",)
    seed: Annotated[int, Meta(description="seed of the inputs")] = 0
    # Both are left out of a key where they are unset.
    throughput: Annotated[
        Throughput | UnsetType, Meta(description="texts per second of one or more processes, besides the latency")
    ] = UNSET
    rows: Annotated[Rows | UnsetType, Meta(description="columns and choice of rows, from the dataset's block")] = UNSET

    @property
    def dataset(self) -> str:
        """The dataset that planning gives as an input."""
        return "" if self.throughput is UNSET else self.throughput.dataset


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
        runtime=context.runtime,
    )


def _fitting(lengths: tuple[int, ...], context: Context) -> tuple[int, ...]:
    """The default length is cut to what the model takes; a length that a person wrote is not."""
    positions = context.of_one_call.positions
    if "sequence" in context.written or positions is None:
        return lengths
    longest = positions - (context.family == "decoder")  # a decoder needs one position for its next token
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
    yield from check_call("batch", max(params.batch, default=1), max(params.sequence, default=1))
    if "sequence" in context.written:
        yield from check_length("sequence", max(params.sequence, default=1), context)
    if params.throughput is not UNSET:
        yield from _check_throughput(params.throughput, context)


def _check_throughput(throughput: Throughput, context: Context) -> Iterable[Fault]:
    for name in ("texts", "longer_than", "sequence", "batch", "workers", "threads", "order", "tokenized", "rounds"):
        value = getattr(throughput, name)
        values = value if isinstance(value, tuple) else (value,)
        least = 0 if name == "longer_than" else 1
        if not values or any(isinstance(one, int) and one < least for one in values):
            message = (
                f"`{name}` expects {'values' if name in _WORDS else f'numbers from {least}'}, found {list(values)}"
            )
            yield Fault(code="OB612", field="throughput", message=message)
    if context.task is not None and (context.family != "encoder" or not reads_text_rows(context.task)):
        yield Fault(
            code="OB675",
            field="throughput",
            message=f"`throughput` passes each text through the model once; the task `{context.task}` works otherwise",
            hint="remove it; `generate:` measures the tokens per second of a model that writes text",
        )
    yield from check_call("throughput", max(throughput.batch, default=1), throughput.sequence)
    busy = max(throughput.workers, default=1) * max(throughput.threads, default=1)
    if busy > context.machine.cores:
        yield Fault(
            code="OB676",
            field="throughput",
            severity="warning",
            message=f"`workers` and `threads` take {busy} cores, and this machine has {context.machine.cores}",
            hint="processes that share a core are not pinned to one, and measure the scheduler",
        )


_WORDS = ("order", "tokenized")


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
    resumes=lambda params: "throughput" in params,
    columns=lambda params, _context: ("text",) if params.dataset else (),
    memory_factor=4.0,
)
