"""Measures calls side by side: warm-up until steady, interleaved rounds, and the load of the machine meanwhile."""

from __future__ import annotations

import gc
import itertools
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from msgspec import Struct, field

Call = Callable[[], Any]

_STEADY = 0.05  # coefficient of variation of the last calls below which an engine counts as warm
_WINDOW = 5
_CAP_FACTOR = 4  # at most this many times the requested warm-up
_BUSY = 0.9  # an engine that got a smaller share of its threads competed with another process


class Warmup(Struct, frozen=True, kw_only=True):
    """The warm-up of an engine: calls until the last five varied by less than 5 %, or until the cap."""

    first_ms: float
    calls: int
    steady: bool


class Series(Struct, kw_only=True):
    """The measurements of one engine: milliseconds of each call by round, and the resources of all calls."""

    warmup: Warmup
    rounds: list[list[float]] = field(default_factory=list)
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    involuntary_switches: int = 0

    @property
    def values(self) -> list[float]:
        """Every timed call, in milliseconds."""
        return [value for part in self.rounds for value in part]


def measure(calls: Mapping[str, Call], *, warmup: int, iterations: int, rounds: int) -> dict[str, Series]:
    """Time each call `iterations` times, in `rounds` in which every engine takes its turn; the order alternates.

    Another process that slows the machine for a second then slows all engines, and their ratio in that round holds.
    """
    series = {name: Series(warmup=warm_up(call, warmup)) for name, call in calls.items()}
    with without_collector():
        for number, count in enumerate(split(iterations, rounds)):
            names = list(calls) if number % 2 == 0 else list(reversed(list(calls)))
            for name in names:
                time_each(itertools.repeat(calls[name], count), series[name])
    return series


def split(iterations: int, rounds: int) -> list[int]:
    """`iterations` over at most `rounds` rounds, as evenly as possible: 20 over 3 is 7, 7, 6."""
    rounds = min(rounds, iterations)
    return [iterations // rounds + (number < iterations % rounds) for number in range(rounds)]


def warm_up(call: Call, minimum: int) -> Warmup:
    """Call at least `minimum` times and until steady, at most four times as often; the first call is kept apart."""
    first = time_call(call)
    times = [first]
    cap = max(minimum, _WINDOW) * _CAP_FACTOR
    while len(times) < cap and (len(times) < minimum + 1 or not is_steady(times)):
        times.append(time_call(call))
    return Warmup(first_ms=first, calls=len(times), steady=is_steady(times))


def is_steady(times: Sequence[float]) -> bool:
    """Whether the last five calls vary by less than 5 % (standard deviation over mean)."""
    last = times[-_WINDOW:]
    return len(last) == _WINDOW and statistics.pstdev(last) < _STEADY * statistics.fmean(last)


def time_call(call: Call) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e6


def summary(values: Sequence[float], *, rows: int, tokens: int) -> dict[str, Any]:
    """The summary of a series of milliseconds; rates are those of the median call."""
    ordered = sorted(values)
    p50 = percentile(ordered, 50)
    return {
        "n": len(ordered),
        "mean_ms": statistics.fmean(ordered),
        "min_ms": ordered[0],
        "max_ms": ordered[-1],
        "stdev_ms": statistics.stdev(ordered) if len(ordered) > 1 else 0.0,
        "p50_ms": p50,
        "p90_ms": percentile(ordered, 90),
        "p99_ms": percentile(ordered, 99),
        "samples_per_second": 1000 * rows / p50,
        "tokens_per_second": 1000 * tokens / p50 if tokens else None,
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The percentile of sorted values by linear interpolation between the nearest two, as numpy's default."""
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def speedup(engine: Series, baseline: Series) -> dict[str, float]:
    """How many times faster than the baseline: the median over rounds of the ratio of medians, and its range."""
    ratios = [
        statistics.median(slow) / statistics.median(fast)
        for fast, slow in zip(engine.rounds, baseline.rounds, strict=True)
    ]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def load_of(series: Series, *, threads: int) -> dict[str, Any]:
    """How much of its threads an engine got, and whether another process took them (`contended`).

    Threads also wait for each other, so with several of them a low utilisation counts only if the kernel also took
    a core away.
    """
    utilisation = series.cpu_seconds / series.wall_seconds if series.wall_seconds else 0.0
    starved = utilisation < _BUSY * threads
    taken = series.involuntary_switches > len(series.values)
    return {
        "cpu_utilisation": utilisation,
        "involuntary_switches": series.involuntary_switches,
        "contended": starved and (threads == 1 or taken),
    }


def resident_bytes() -> int | None:
    """Resident memory of this process now, or None if the system does not report it."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def load_average() -> float | None:
    """The one-minute load average, or None if the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def governor() -> str | None:
    """What decides the clock rate of the first core (`performance`, `powersave`), None if the system does not say."""
    try:
        with open("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def versions() -> dict[str, str]:
    """Versions of the packages that take part in a measurement, as far as they are installed."""
    names = ("onnxruntime", "onnxruntime-gpu", "torch", "transformers", "optimum", "optimum-onnx", "numpy")
    installed = {}
    for name in names:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def time_each(calls: Iterable[Call], series: Series) -> None:
    """One round of a series: each of these calls once."""
    cpu, switches = time.process_time(), _involuntary_switches()
    start = time.perf_counter()
    times = [time_call(call) for call in calls]
    series.wall_seconds += time.perf_counter() - start
    series.cpu_seconds += time.process_time() - cpu
    series.involuntary_switches += _involuntary_switches() - switches
    series.rounds.append(times)


def _involuntary_switches() -> int:
    """How often the kernel has taken a core from this process; 0 if the system does not report it (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the garbage collector out of the timed calls; it runs once before them."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
