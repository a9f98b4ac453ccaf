"""benchmark: latency of a variant and of its baselines, interleaved in one process with equal threads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import msgspec

from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams, trusted


class BenchmarkParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to time: every combination of batch (samples), sequence (tokens) and threads.

    `iterations` timed calls a combination and engine after `warmup` calls, in `rounds` interleaved rounds.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("task", "device", "trust_remote_code")

    task: str = ""
    device: Literal["cpu", "cuda"] = "cpu"
    batch: tuple[int, ...] = (1,)
    sequence: tuple[int, ...] = (128,)
    threads: tuple[int, ...] = (1,)
    iterations: int = 20
    warmup: int = 5
    rounds: int = 4
    baselines: tuple[Literal["torch", "torch.compile"], ...] = ("torch",)
    seed: int = 0


def _resolve(params: BenchmarkParams, context: Context) -> BenchmarkParams:
    baselines = params.baselines if context.reference == "checkpoint" else ()
    return msgspec.structs.replace(
        params,
        task=context.task or "",
        device=context.device,
        baselines=baselines,
        trust_remote_code=trusted(context),
    )


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


BENCHMARK = Kind(
    name="benchmark",
    version=1,
    params=BenchmarkParams,
    inputs={"model": "onnx", "reference": "checkpoint | onnx"},
    outputs={"samples": "samples"},
    worker="onnxbuild.workers.benchmark.worker:run",
    packages=lambda _params: ("onnxruntime", "transformers", "torch", "sentence-transformers"),
    pool="alone",
    measures=True,
    resolve=_resolve,
    check=_check,
    memory_factor=4.0,
)
