"""One process of a throughput: it opens one engine on its own cores, and runs its share of the batches when told.

It is a worker process that gets one request after the other: `Open`, and then a `Prepare` and some `Pass`es for each
configuration. Frameworks are imported after the process is pinned, so that their threads are pinned too, and an engine
is measured without the other's memory.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.compiling.compiled_record import RECORD
from onnxbuild.steps.kind import UNCOMPILED
from onnxbuild.workers.engines import timing
from onnxbuild.workers.engines.engine import Described, Device
from onnxbuild.workers.libraries.remote_code import remote_code

Rows = Sequence[Sequence[int]]


class Open(Struct, frozen=True, tag=True, kw_only=True):
    """Open an engine. `cores`: those that the process is pinned to, none if it is not pinned. `pad`: id of padding."""

    engine: str
    task: str
    graphs: Described
    threads: int
    device: Device
    cores: tuple[int, ...]
    longest: int
    pad: int
    seed: int
    trusts_code: bool


class Prepare(Struct, frozen=True, tag=True, kw_only=True):
    """Make the calls of a pass. `texts`: batches that a call tokenizes itself, instead of `rows`.

    `warm`: the numbers of the calls that are run once to warm up.
    """

    rows: Sequence[Rows] = ()
    texts: Sequence[Sequence[str]] = ()
    warm: Sequence[int] = ()


class Pass(Struct, frozen=True, tag=True, kw_only=True):
    """Run every call once, from the moment `start` of the clock that all processes share (`time.perf_counter`)."""

    start: float


class _Opened:
    """The engine of this process, and the calls that were prepared."""

    def __init__(self, order: Open, inputs: Mapping[str, Path]) -> None:
        from onnxbuild.workers.inputs.sample_source import open_source

        self.order, self.calls = order, list[timing.Call]()
        self.engine = _open_engine(order, inputs)
        self.source = open_source(
            inputs["model"], order.graphs, order.task, seed=order.seed, trusts_code=order.trusts_code
        )

    def call_of_rows(self, rows: Rows) -> timing.Call:
        """The model on rows that are tokenized already."""
        from onnxbuild.workers.inputs.samples import text_feeds

        feeds = text_feeds(self.source, rows, pad=self.order.pad)
        call: timing.Call = self.engine.prepare(self.order.graphs.first, feeds)
        return call

    def call_of_texts(self, texts: Sequence[str]) -> timing.Call:
        """The tokenizer, the padding and the model."""

        def call() -> Any:
            return self.call_of_rows(token_rows(self.source.tokenizer, texts, self.order.longest))()

        return call


_opened: list[_Opened] = []


def run(
    params: Open | Prepare | Pass, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell
) -> Facts:
    """Do what one request of `throughput` says."""
    del outputs, progress
    if isinstance(params, Open):
        with remote_code(allowed=params.trusts_code):
            return _open(params, inputs)
    return _prepare(_opened[0], params) if isinstance(params, Prepare) else _pass(_opened[0], params)


def token_rows(tokenizer: Any, texts: Sequence[str], longest: int) -> Rows:
    """The token ids of texts: in one call where the tokenizer takes several, as a server would do it."""
    if hasattr(tokenizer, "batch_decode"):  # of transformers, and none of our wrappers
        rows: Rows = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
        return rows
    return [tokenizer(text, truncation=True, max_length=longest)["input_ids"] for text in texts]


def _open(order: Open, inputs: Mapping[str, Path]) -> Facts:
    if order.cores:
        os.sched_setaffinity(0, order.cores)
    before = timing.resident_bytes()
    opened = _Opened(order, inputs)
    _opened[:] = [opened]
    first = timing.time_call(opened.call_of_rows([[order.pad] * min(8, order.longest)]))
    return {
        "load_seconds": opened.engine.load_seconds,
        "first_inference_ms": first,
        "resident_bytes": {"before": before, "opened": timing.resident_bytes()},
        "threads_used": opened.engine.threads_used(),
        "cores": sorted(os.sched_getaffinity(0)) if order.cores else [],
    }


def _open_engine(order: Open, inputs: Mapping[str, Path]) -> Any:
    from onnxbuild.workers.engines.compiled.open_variant import open_variant

    if order.engine == "onnxruntime" and UNCOMPILED in inputs:
        return open_variant(inputs[UNCOMPILED], threads=order.threads, device=order.device)
    if order.engine == "onnxruntime" or ((inputs["model"] / RECORD).is_file() and not order.engine.startswith("torch")):
        return open_variant(inputs["model"], threads=order.threads, device=order.device)
    import torch

    from onnxbuild.workers.engines.torch_engine import load_torch, variant_of

    torch.set_num_threads(order.threads)
    plain = load_torch(
        inputs["reference"], order.task, order.graphs, device=order.device, trusts_code=order.trusts_code
    )
    return variant_of(plain, order.engine, any_length=True)


def _prepare(opened: _Opened, order: Prepare) -> Facts:
    made: list[Callable[[], Any]] = [opened.call_of_rows(rows) for rows in order.rows]
    opened.calls = made + [opened.call_of_texts(texts) for texts in order.texts]
    gc.collect()
    start = time.perf_counter()
    for number in order.warm:
        opened.calls[number]()
    return {"warm_up_seconds": time.perf_counter() - start}


def _pass(opened: _Opened, order: Pass) -> Facts:
    calls, series = opened.calls, timing.Series(warmup=timing.Warmup(first_ms=0.0, calls=0, steady=True))
    with timing.without_collector():
        time.sleep(max(0.0, order.start - time.perf_counter()))
        start = time.perf_counter()
        timing.time_each(calls, series)
        end = time.perf_counter()
    return {
        "start": start,
        "end": end,
        "resident_bytes": timing.resident_bytes(),
        **timing.load_of(series, threads=opened.order.threads),
    }
