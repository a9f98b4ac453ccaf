"""Compares sessions in interleaved rounds, and stops a comparison as soon as noise explains it.

Three sessions take turns in each round: the one to beat, the same once more in another process, and the candidate. The
second one shows by how much two equal sessions differ on this machine: by their place in memory, and by what other
programs do. A candidate is better only if its worst round is better than the best round of that control. These ranges
only grow, so a candidate whose range touches the control's cannot become better, and is dropped in that round.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from onnxbuild.steps.checks.tune import LARGER_IS_BETTER, Figure
from onnxbuild.workers.engines import timing
from onnxbuild.workers.tune.sessions import Session

# Threads of the session before may still spin: they stop within this time. The call that is not timed then wakes ours.
_PAUSE_SECONDS = 0.02

Rest = Callable[[float], object]


class Spread(Struct, frozen=True):
    """How many times better than the session to beat: the median over rounds, and the range of the rounds."""

    median: float
    min: float
    max: float


class Range(Struct, frozen=True):
    """A figure of all calls, and the range of the rounds."""

    value: float
    min: float
    max: float


class Measured(Struct, frozen=True, kw_only=True):
    """One session in a comparison: for each work its rounds."""

    works: tuple[tuple[timing.Series, ...], ...]

    def figure(self, figure: Figure, work: int, batch: int) -> Range:
        """A figure of one work, and its range over the rounds."""
        values = [value_of(figure, series, batch) for series in self.works[work]]
        return Range(value_of(figure, _together(self.works[work]), batch), min(values), max(values))

    def worst(self, figure: Figure, batches: Sequence[int]) -> float:
        """The worst value of a figure in any work, which conditions are about."""
        values = [self.figure(figure, work, batch).value for work, batch in enumerate(batches)]
        return min(values) if figure in LARGER_IS_BETTER else max(values)

    def is_contended(self, *, threads: int) -> bool:
        """Whether another process took the cores of this session."""
        return any(timing.load_of(_together(rounds), threads=threads)["contended"] for rounds in self.works)


class Compared(Struct, frozen=True, kw_only=True):
    """A comparison: what each session showed, and how the control and the candidate compare with the first one.

    Without a candidate, the control stands for it.
    """

    sessions: Mapping[str, Measured]
    control: Spread
    candidate: Spread
    rounds: int

    @property
    def is_better(self) -> bool:
        """Whether the ranges do not overlap, and the candidate's is the better one."""
        return self.candidate.min > max(1.0, self.control.max)


BEST, CONTROL, CANDIDATE = "best", "control", "candidate"


def compare(
    sessions: Mapping[str, Session],
    batches: Sequence[int],
    goal: Figure,
    *,
    calls: int,
    rounds: int,
    to_the_end: bool = False,
    rest: Rest = time.sleep,
) -> Compared:
    """Let `best`, `control` and (if there is one) `candidate` take turns; `batches`: the samples of each work.

    `calls` of each session and work are spread over the rounds. `to_the_end`: no comparison is cut short, because its
    figures are reported.
    """
    shown: dict[str, list[list[timing.Series]]] = {name: [[] for _ in batches] for name in sessions}
    for number, count in enumerate(timing.split(calls, rounds)):
        _round(sessions, shown, count, number, rest)
        compared = _compared(shown, batches, goal, number + 1)
        if not compared.is_better and not to_the_end:
            break
    return compared


def _round(
    sessions: Mapping[str, Session], shown: dict[str, list[list[timing.Series]]], count: int, number: int, rest: Rest
) -> None:
    """One round, in an order that changes, so that no session always comes after the same one."""
    names = list(sessions)
    turn = number % len(names)
    for name in (*names[turn:], *names[:turn]):
        for work, found in enumerate(shown[name]):
            rest(_PAUSE_SECONDS)
            found.append(sessions[name].time(work, count))


def _compared(
    shown: Mapping[str, list[list[timing.Series]]], batches: Sequence[int], goal: Figure, rounds: int
) -> Compared:
    def gains(name: str) -> Spread:
        return spread([_gain(goal, shown[BEST], shown[name], batches, number) for number in range(rounds)])

    return Compared(
        sessions={name: Measured(works=tuple(map(tuple, found))) for name, found in shown.items()},
        control=gains(CONTROL),
        candidate=gains(CANDIDATE if CANDIDATE in shown else CONTROL),
        rounds=rounds,
    )


def _gain(
    goal: Figure,
    than: Sequence[Sequence[timing.Series]],
    one: Sequence[Sequence[timing.Series]],
    batches: Sequence[int],
    number: int,
) -> float:
    """How many times better a session is in a round: the geometric mean over the works."""
    ratios = (
        value_of(goal, mine[number], batch) / value_of(goal, other[number], batch)
        for mine, other, batch in zip(one, than, batches, strict=True)
    )
    sign = 1 if goal in LARGER_IS_BETTER else -1
    return math.exp(sign * statistics.fmean(map(math.log, ratios)))


def value_of(figure: Figure, series: timing.Series, batch: int) -> float:
    """A figure of one round: milliseconds, milliseconds of CPU time per call, or samples per second."""
    values = sorted(series.values)
    if figure == "throughput":
        return batch * len(values) / series.wall_seconds
    if figure == "cpu_time":
        return max(1e-6, 1000 * series.cpu_seconds / len(values))  # a clock may be coarser than a call
    return timing.percentile(values, 99 if figure == "latency.p99" else 50)


def spread(values: Sequence[float]) -> Spread:
    """Median and range."""
    return Spread(statistics.median(values), min(values), max(values))


def _together(rounds: Sequence[timing.Series]) -> timing.Series:
    return timing.Series(
        warmup=rounds[0].warmup,
        rounds=[one.values for one in rounds],
        wall_seconds=sum(one.wall_seconds for one in rounds),
        cpu_seconds=sum(one.cpu_seconds for one in rounds),
        involuntary_switches=sum(one.involuntary_switches for one in rounds),
    )
