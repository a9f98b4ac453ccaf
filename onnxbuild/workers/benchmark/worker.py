"""benchmark: measures the latency of a variant and its baselines, side by side in one process with equal threads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import UNSET, Struct

from onnxbuild.machine import peak_resident_bytes, this_machine
from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.benchmark import BenchmarkParams
from onnxbuild.steps.compiling.compiled_record import read_record
from onnxbuild.steps.kind import JOURNAL, UNCOMPILED
from onnxbuild.tables.graph_stages import TIMED
from onnxbuild.workers.benchmark.throughput import MUST_RUN, measure_throughput
from onnxbuild.workers.engines import timing
from onnxbuild.workers.engines.compiled.open_variant import Opened, executed, open_variant, why_not_timed
from onnxbuild.workers.engines.engine import Device, Engine, Graphs
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel, onnx_files
from onnxbuild.workers.engines.torch_engine import is_onnx, load_torch, variant_of
from onnxbuild.workers.folders.journal import Journal
from onnxbuild.workers.folders.model_graphs import data_below
from onnxbuild.workers.inputs.sample_source import Source, open_source
from onnxbuild.workers.inputs.samples import Sample, shaped
from onnxbuild.workers.inputs.stages import run_stages
from onnxbuild.workers.libraries.remote_code import with_its_code


class Combination(Struct, frozen=True, kw_only=True):
    """One combination of parameters to measure."""

    batch: int
    sequence: int
    threads: int


@with_its_code
def run(params: BenchmarkParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Time every combination, write every sample to `latencies.json`, and return the summaries.

    Errors: CheckFailed OBE43 if the device's provider is missing, OBE38 for a sequence that is too long.
    """
    lacking = why_not_timed(inputs["model"], params.runtime)
    if lacking is not None:
        (outputs["samples"] / "latencies.json").write_bytes(msgspec.json.encode([]))
        return {"skipped": lacking}
    progress("loading the models")
    combinations = _combinations(params)
    torch.set_num_threads(combinations[0].threads)
    resident = {"before": timing.resident_bytes()}
    variant = open_variant(inputs["model"], threads=combinations[0].threads, device=params.device)
    resident[f"with_{variant.name}"] = timing.resident_bytes()
    baselines = _open_baselines(params, inputs, variant)
    trust = params.trusts_code
    source = open_source(inputs["model"], variant, params.task, seed=params.seed, trusts_code=trust)
    first_ms = _first_inferences(source, variant, [variant, *baselines])
    results: list[dict[str, Any]] = []
    raw: list[dict[str, Any]] = []
    for done, point in enumerate(combinations):
        progress(f"timing {point.batch}×{point.sequence}, threads {point.threads}", done, len(combinations))
        variant = _with_threads(variant, inputs["model"], point.threads)
        baselines = [_again(one, point.threads) for one in baselines]
        measured, samples = _measure_point(params, point, source, variant, baselines)
        results += measured
        raw += samples
    (outputs["samples"] / "latencies.json").write_bytes(msgspec.json.encode(raw))
    more: dict[str, Any] = {}
    if params.throughput is not UNSET:
        names = [variant.name, *(engine.name for engine in baselines)]
        journal = Journal(outputs.get(JOURNAL))
        more = {"throughput": measure_throughput(params, inputs, variant, source, names, progress, journal)}
    return more | {
        "headline": _headline(results, variant.name),
        "results": results,
        "contended": any(engine["contended"] for result in results for engine in result["engines"].values()),
        "load_seconds": {variant.name: variant.load_seconds} | {b.name: b.load_seconds for b in baselines},
        "first_inference_ms": first_ms,
        **executed(variant),
        **_failures(results),
        "file_bytes": bytes_of_variant(inputs["model"]),
        "resident_bytes": {**resident, "peak": peak_resident_bytes()},
        "providers": variant.providers(),
        "operators": variant.operators(),
        "environment": environment(params.device),
    }


def _with_threads(variant: Opened, folder: Path, threads: int) -> Opened:
    """Let PyTorch and the variant compute with `threads`; a session keeps the threads that it was opened with."""
    torch.set_num_threads(threads)
    if variant.threads == threads or not getattr(variant, "uses_threads", True):
        return variant
    return open_variant(folder, threads=threads, device=variant.device)


def _again(baseline: Engine, threads: int) -> Engine:
    """A baseline with these threads: those of PyTorch are set for the whole process."""
    if not isinstance(baseline, OnnxModel) or baseline.threads == threads:
        return baseline
    return OnnxModel(baseline.folder, threads=threads, device=baseline.device)


def environment(device: Device) -> dict[str, Any]:
    """What a reader needs to interpret the numbers: machine, load, versions, settings of threads."""
    machine = this_machine()
    facts = {
        "cpu": machine.cpu,
        "flags": list(machine.flags),
        "cores": machine.cores,
        "governor": timing.governor(),
        "load_average": timing.load_average(),
        "versions": timing.versions(),
        "spinning": False,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }
    return facts | {"gpu": torch.cuda.get_device_name()} if device == "cuda" else facts


def file_bytes(folder: Path) -> int:
    """Size of a model's ONNX files with their external data, which several may share."""
    files = {*onnx_files(folder), *(folder / name for name in data_below(folder))}
    return sum(path.stat().st_size for path in files)


def _combinations(params: BenchmarkParams) -> list[Combination]:
    return [
        Combination(batch=batch, sequence=sequence, threads=threads)
        for threads in params.threads
        for batch in params.batch
        for sequence in params.sequence
    ]


def bytes_of_variant(folder: Path) -> int:
    """The size of a variant's graphs, or of the files of a backend."""
    record = read_record(folder)
    return file_bytes(folder) if record is None else sum((folder / name).stat().st_size for name in record.files)


def _open_baselines(params: BenchmarkParams, inputs: Mapping[str, Path], variant: Graphs) -> list[Engine]:
    """The PyTorch engines, which share one model, and ONNX Runtime with the graph that a variant was compiled from."""
    return [*_torch_baselines(params, inputs, variant), *_uncompiled(params, inputs)]


def _uncompiled(params: BenchmarkParams, inputs: Mapping[str, Path]) -> list[Engine]:
    if UNCOMPILED not in inputs:
        return []
    return [OnnxModel(inputs[UNCOMPILED], threads=params.threads[0], device=params.device)]


def _torch_baselines(params: BenchmarkParams, inputs: Mapping[str, Path], variant: Graphs) -> list[Engine]:
    """The engines of PyTorch; none if the reference is an ONNX model."""
    if not params.baselines or is_onnx(inputs["reference"]):
        return []
    trust = params.trusts_code
    plain = load_torch(inputs["reference"], params.task, variant, device=params.device, trusts_code=trust)
    return [variant_of(plain, name) for name in params.baselines]


def _first_inferences(source: Source, variant: Opened, engines: Sequence[Engine]) -> dict[str, float]:
    """Milliseconds of the first call of each engine that runs everywhere, on one row of eight tokens."""
    sample = shaped(source, 1, min(8, source.positions - 1), padded=False)
    return {
        engine.name: timing.time_call(engine.prepare(variant.first, sample.feeds))
        for engine in engines
        if engine.name in (*MUST_RUN, variant.name)
    }


def _measure_point(
    params: BenchmarkParams, point: Combination, source: Source, variant: Opened, baselines: Sequence[Engine]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A result and the raw milliseconds for each stage of one combination; a failed compilation is reported."""
    # A graph compiled for the last shape would otherwise count against the limit of recompilations.
    torch.compiler.reset()
    sample = shaped(source, point.batch, point.sequence, padded=False)
    feeds = {stage: fed for stage, fed, _ in run_stages(variant, sample, variant.stages) if stage in TIMED}
    results, raw = [], []
    engines: list[Engine] = [variant, *baselines]
    for stage, fed in feeds.items():
        # Every engine gets the same tensors, including the past, so that all do the same work.
        failed = {one.name: why for one in baselines if (why := _why_not_run(one, stage, fed))}
        able = [engine for engine in engines if engine.name not in failed]
        calls = {engine.name: engine.prepare(stage, fed) for engine in able}
        series = timing.measure(calls, warmup=params.warmup, iterations=params.iterations, rounds=params.rounds)
        where = {"stage": stage, **msgspec.to_builtins(point), "failed": failed}
        where |= {"threads_used": {engine.name: engine.threads_used() for engine in able}}
        where |= _continued(variant, fed) | _ran_as(variant, stage, fed)
        results.append(where | _result(series, sample, stage, fed, own=variant.name, threads=point.threads))
        raw += [
            {"stage": stage, **msgspec.to_builtins(point), "engine": name, "rounds_ms": one.rounds}
            for name, one in series.items()
        ]
    return results, raw


def _continued(variant: Opened, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The latency of a program that continues texts by itself; empty for any other variant."""
    statistics = variant.latency_after(feeds) if hasattr(variant, "latency_after") else {}
    return {"latency": statistics} if statistics else {}


def _ran_as(variant: Opened, stage: str, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The calls that a program of fixed sizes has run for a sample of another shape; empty for any other variant."""
    ran = variant.ran_as(stage, feeds) if hasattr(variant, "ran_as") else None
    return {} if ran is None else {"ran_as": msgspec.to_builtins(ran)}


def _why_not_run(engine: Engine, stage: str, fed: Mapping[str, np.ndarray]) -> str | None:
    """Why a baseline cannot run this (no C++ compiler, no kernel for 16 bits), None if it can."""
    if engine.name in MUST_RUN:
        return None
    try:
        engine.prepare(stage, fed)()
    except Exception as error:  # noqa: BLE001 - whatever a library raises, the other engines are still timed
        return f"{type(error).__name__}: {_told(str(error))}"
    return None


def _told(message: str) -> str:
    """The first line of a message, with the first line after it in which a compiler says what is wrong."""
    first, *others = message.strip().splitlines() or [""]
    error = next((line.strip() for line in others if "error:" in line), "")
    return f"{first} ({error[:300]})" if error else first


def _result(
    series: Mapping[str, timing.Series],
    sample: Sample,
    stage: str,
    fed: Mapping[str, np.ndarray],
    *,
    own: str,
    threads: int,
) -> dict[str, Any]:
    tokens = sample.rows if stage in {"decode", "decoder_step", "merged_step"} else sample.tokens
    engines = {
        name: timing.summary(one.values, rows=sample.rows, tokens=tokens)
        | timing.load_of(one, threads=threads)
        | {"warmup": msgspec.to_builtins(one.warmup)}
        for name, one in series.items()
    }
    speedups = {name: timing.speedup(series[own], one) for name, one in series.items() if name != own}
    keys = (name for name in fed if name.startswith("past_key_values") and name.endswith("key"))
    past = next((int(fed[name].shape[-2]) for name in keys), 0)
    return {"tokens": tokens, "past": past, "engines": engines, "speedup": speedups}


def _failures(results: Sequence[Mapping[str, Any]]) -> Facts:
    """A warning for each baseline that did not run, with its first reason: its column would only be empty."""
    reasons: dict[str, str] = {}
    for result in results:
        reasons = {**result["failed"], **reasons}
    warnings = [f"`{name}` did not run: {why}" for name, why in reasons.items()]
    return {"warnings": warnings} if warnings else {}


def _headline(results: Sequence[Mapping[str, Any]], own: str) -> dict[str, Any]:
    """The row of a table: the first combination's pass over the input, against the first baseline."""
    first = results[0]
    baseline = next(iter(first["speedup"]), None)
    engines = first["engines"]
    return {
        "engine": own,
        "p50_ms": engines[own]["p50_ms"],
        "baseline": baseline,
        "baseline_p50_ms": engines[baseline]["p50_ms"] if baseline else None,
        "speedup": first["speedup"][baseline]["median"] if baseline else None,
        "contended": any(engine["contended"] for engine in engines.values()),
    } | {name: first[name] for name in ("stage", "batch", "sequence", "threads", "ran_as") if name in first}
