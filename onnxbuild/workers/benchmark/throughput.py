"""Texts per second of one or more processes: whole passes over the same texts, the engines in turn."""

from __future__ import annotations

import contextlib
import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from onnxbuild.protocol import CheckFailed, Tell
from onnxbuild.steps.benchmark import BenchmarkParams, Throughput
from onnxbuild.workers.benchmark.crew import Crew
from onnxbuild.workers.benchmark.lane import Open
from onnxbuild.workers.benchmark.text_batches import TextSet, batches, padded_tokens, shares, text_set
from onnxbuild.workers.engines.compiled.open_variant import Opened
from onnxbuild.workers.engines.engine import described
from onnxbuild.workers.folders.journal import Journal
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.samples import text_limit

MUST_RUN = ("onnxruntime", "torch")  # what any other baseline cannot do on this machine is a result


class Setting(Struct, frozen=True, kw_only=True):
    """One combination of the lists of `throughput:`, for one number of processes and threads."""

    longer_than: int
    tokenized: str
    order: str
    batch: int
    workers: int
    threads: int


class Passes(Struct, kw_only=True):
    """What one engine did in one setting: seconds of each pass, and what each process says about it."""

    seconds: list[float]
    reports: list[Mapping[str, Any]]


def measure_throughput(
    params: BenchmarkParams,
    inputs: Mapping[str, Path],
    variant: Opened,
    source: Source,
    engines: Sequence[str],
    progress: Tell,
    journal: Journal,
) -> dict[str, Any]:
    """Every setting with every engine, the best of each engine, and what the processes took.

    A setting that the journal has is not measured again: with 10,000 texts, all of them take hours.

    Errors: CheckFailed OBE37 without a tokenizer, OBE125 if a process ends, OBE126 and OBE127 for too few texts.
    """
    throughput = params.throughput
    assert throughput is not UNSET, "BUG: a throughput that nobody asked for"
    _check(source, variant)
    longest = min(throughput.sequence, text_limit(source))
    sets = {
        longer: text_set(params, inputs, source.tokenizer, longest, longer_than=longer)
        for longer in throughput.longer_than
    }
    order = _order(params, variant, source, longest)
    results: list[dict[str, Any]] = []
    processes: list[dict[str, Any]] = []
    places = list(itertools.product(throughput.threads, throughput.workers))
    for done, (threads, workers) in enumerate(places):
        progress(f"throughput: workers {workers}, threads {threads}", done, len(places))
        settings = list(_settings(throughput, workers, threads))
        ordered = msgspec.structs.replace(order, threads=threads)
        found, opened = _measure_place(settings, sets, ordered, inputs, engines, throughput.rounds, progress, journal)
        results += found
        processes += opened
    return {
        "texts": [one.facts() for one in sets.values()],
        "results": results,
        "best": _best(results),
        "processes": processes,
        "contended": any(engine["contended"] for result in results for engine in result["engines"].values()),
    }


def _check(source: Source, variant: Opened) -> None:
    """The model has a tokenizer, and takes batches of any size and length."""
    if not source.reads_text:
        raise CheckFailed(
            "OBE37",
            "the model has no tokenizer, so it cannot read the texts of `throughput`",
            notes=[("hint", "add tokenizer.json and tokenizer_config.json to the source, or remove `throughput`")],
        )
    shape = source.inputs["input_ids"].shape
    if any(isinstance(size, int) for size in shape[:2]):
        raise CheckFailed(
            "OBE128",
            f"`input_ids` of {variant.folder.name} has the fixed shape {'×'.join(map(str, shape))}, and texts differ",
            notes=[("hint", "export with free axes, or remove `throughput`")],
        )


def _order(params: BenchmarkParams, variant: Opened, source: Source, longest: int) -> Open:
    return Open(
        engine=variant.name,
        task=params.task,
        graphs=described(variant),
        threads=1,
        device=params.device,
        cores=(),
        longest=longest,
        pad=source.pad_id,
        seed=params.seed,
        trusts_code=params.trusts_code,
    )


def _settings(throughput: Throughput, workers: int, threads: int) -> Iterator[Setting]:
    for longer, tokenized, order, batch in itertools.product(
        throughput.longer_than, throughput.tokenized, throughput.order, throughput.batch
    ):
        yield Setting(
            longer_than=longer, tokenized=tokenized, order=order, batch=batch, workers=workers, threads=threads
        )


def _measure_place(
    settings: Sequence[Setting],
    sets: Mapping[int, TextSet],
    order: Open,
    inputs: Mapping[str, Path],
    engines: Sequence[str],
    rounds: int,
    progress: Tell,
    journal: Journal,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All settings of one number of processes and threads; the processes of every engine stay open meanwhile.

    They are opened for the first setting that is not known yet.
    """
    results = []
    with contextlib.ExitStack() as stack:
        failed: dict[str, str] = {}

        @cache
        def crews() -> dict[str, Crew]:
            return _open_crews(stack, engines, order, settings[0].workers, inputs, failed)

        def measured(setting: Setting) -> dict[str, Any]:
            return _measure(setting, sets[setting.longer_than], crews(), rounds, failed)

        for done, setting in enumerate(settings):
            progress(f"throughput: {_words(setting)}", done, len(settings))
            results.append(journal.noted(f"throughput of {setting}", partial(measured, setting)))
        place = f"processes of {settings[0].workers} workers with {settings[0].threads} threads"
        opened = journal.noted(place, lambda: [_processes(crew, settings[0]) for crew in crews().values()])
    return results, opened


def _open_crews(
    stack: contextlib.ExitStack,
    engines: Sequence[str],
    order: Open,
    workers: int,
    inputs: Mapping[str, Path],
    failed: dict[str, str],
) -> dict[str, Crew]:
    """The processes of each engine that opens here; `failed` gets the others."""
    crews: dict[str, Crew] = {}
    for name in engines:
        with _may_fail(name, failed, (*MUST_RUN, engines[0])):
            crews[name] = stack.enter_context(Crew(msgspec.structs.replace(order, engine=name), workers, inputs))
    return crews


@contextlib.contextmanager
def _may_fail(engine: str, failed: dict[str, str], must_run: Sequence[str]) -> Iterator[None]:
    """Note why a baseline cannot run this (no C++ compiler, no kernel for 16 bits); any other failure is raised."""
    try:
        yield
    except CheckFailed as error:
        if engine in must_run or error.failure.code == "OBE125":
            raise
        failed[engine] = error.failure.message


def _words(setting: Setting) -> str:
    return f"batch {setting.batch}, {setting.order}, workers {setting.workers}"


def _measure(
    setting: Setting, texts: TextSet, crews: Mapping[str, Crew], rounds: int, failed: Mapping[str, str]
) -> dict[str, Any]:
    """One setting: each process runs each shape of its share once to warm up, then the engines take turns in rounds."""
    made = batches(texts, setting.order, setting.batch)
    parts = shares(texts, made, setting.workers, within=setting.tokenized == "within")
    failures = dict(failed)
    own = next(iter(crews))  # the variant comes first
    able: dict[str, Crew] = {}
    for name, crew in crews.items():
        with _may_fail(name, failures, (*MUST_RUN, own)):
            crew.prepare(parts)
            able[name] = crew
    passes = {name: Passes(seconds=[], reports=[]) for name in able}
    for number in range(rounds):
        for name in able if number % 2 == 0 else reversed(list(able)):
            _add(passes[name], able[name].timed_pass())
    padded = padded_tokens(texts, made)
    about = {"texts": len(texts.texts), "tokens": texts.tokens, "padding_ratio": padded / texts.tokens}
    engines = {name: _summary(one, texts) for name, one in passes.items()}
    speedups = {name: _speedup(passes[own], one) for name, one in passes.items() if name != own}
    return {**msgspec.to_builtins(setting), **about, "engines": engines, "speedup": speedups, "failed": failures}


def _add(passes: Passes, reports: Sequence[Mapping[str, Any]]) -> None:
    """A pass takes from the first start to the last end: the clock is the same for all processes of a machine."""
    passes.seconds.append(max(one["end"] for one in reports) - min(one["start"] for one in reports))
    passes.reports += reports


def _summary(passes: Passes, texts: TextSet) -> dict[str, Any]:
    rates = [len(texts.texts) / seconds for seconds in passes.seconds]
    return {
        "texts_per_second": {"median": statistics.median(rates), "min": min(rates), "max": max(rates)},
        "tokens_per_second": texts.tokens / statistics.median(passes.seconds),
        "seconds": passes.seconds,
        "cpu_utilisation": statistics.fmean(one["cpu_utilisation"] for one in passes.reports),
        "involuntary_switches": sum(one["involuntary_switches"] for one in passes.reports),
        "contended": any(one["contended"] for one in passes.reports),
    }


def _speedup(own: Passes, baseline: Passes) -> dict[str, float]:
    ratios = [slow / fast for fast, slow in zip(own.seconds, baseline.seconds, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def _best(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The setting in which each engine is fastest, for each set of texts: a short text takes less than a long one."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for result in results:
        for name, engine in result["engines"].items():
            rate = engine["texts_per_second"]["median"]
            key = (result["longer_than"], name)
            if key not in found or rate > found[key]["texts_per_second"]:
                setting = {field: result[field] for field in Setting.__struct_fields__}
                found[key] = {"engine": name, "texts_per_second": rate, **setting}
    return list(found.values())


def _processes(crew: Crew, setting: Setting) -> dict[str, Any]:
    """What the processes of an engine took: the slowest to open, and the memory of all of them together."""
    opened = crew.opened
    resident = [one["resident_bytes"] for one in opened]
    known = [(one["before"], one["opened"]) for one in resident if one["opened"] is not None]
    return {
        "engine": crew.engine,
        "workers": setting.workers,
        "threads": setting.threads,
        "threads_used": [one["threads_used"] for one in opened],
        "cores": [one["cores"] for one in opened],
        "load_seconds": max(one["load_seconds"] for one in opened),
        "first_inference_ms": max(one["first_inference_ms"] for one in opened),
        "growth_bytes": sum(after - before for before, after in known) if known else None,
        "peak_bytes": crew.peak_bytes(),
    }
