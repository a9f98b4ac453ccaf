"""Texts per second: what a benchmark with `throughput:` measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.deliver.variant_rows import own_engine
from onnxbuild.execute.events import Outcome
from onnxbuild.report.evidence.evidence import Ratio, Throughput


class Spread(Struct, frozen=True):
    """A figure over rounds."""

    median: float
    min: float
    max: float


def ratios_of(speedup: Mapping[str, Spread]) -> tuple[Ratio, ...]:
    """The ratios to each baseline."""
    return tuple(Ratio(baseline=name, median=one.median, least=one.min, most=one.max) for name, one in speedup.items())


class _Setting(Struct, frozen=True, kw_only=True):
    longer_than: int
    tokenized: str
    order: str
    batch: int
    workers: int
    threads: int


class _Engine(Struct, frozen=True, kw_only=True):
    texts_per_second: Spread
    tokens_per_second: float
    contended: bool = False


class _Result(_Setting, frozen=True, kw_only=True):
    texts: int
    tokens: int
    padding_ratio: float
    engines: Mapping[str, _Engine]
    speedup: Mapping[str, Spread] = {}


class _Best(_Setting, frozen=True, kw_only=True):
    engine: str


class _Facts(Struct, frozen=True, kw_only=True):
    results: tuple[_Result, ...]
    best: tuple[_Best, ...] = ()


def throughputs_of(outcome: Outcome) -> Iterator[Throughput]:
    """Every engine in every setting of a benchmark; none where the facts are not those of a throughput."""
    if outcome.kind != "benchmark" or "throughput" not in outcome.facts:
        return
    try:
        facts = msgspec.convert(outcome.facts["throughput"], _Facts)
    except msgspec.ValidationError:
        return
    best = {(one.engine, *_setting(one)) for one in facts.best}
    for result in facts.results:
        for name in result.engines:
            is_best = (name, *_setting(result)) in best
            yield _throughput(outcome.id, name, result, own=own_engine(outcome.facts), best=is_best)


def _setting(one: _Setting) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in _Setting.__struct_fields__)


def _throughput(action: str, engine: str, result: _Result, *, own: str, best: bool) -> Throughput:
    measured = result.engines[engine]
    rate = measured.texts_per_second
    return Throughput(
        action=action,
        engine=engine,
        own=engine == own,
        **{name: getattr(result, name) for name in _Setting.__struct_fields__},
        texts=result.texts,
        tokens=result.tokens,
        padding_ratio=result.padding_ratio,
        texts_per_second=rate.median,
        least_per_second=rate.min,
        most_per_second=rate.max,
        tokens_per_second=measured.tokens_per_second,
        contended=measured.contended,
        best=best,
        ratios=() if engine in result.speedup else ratios_of(result.speedup),  # those are the baselines
    )
