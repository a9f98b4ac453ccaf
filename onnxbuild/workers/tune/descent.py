"""Coordinate descent over session settings: one setting changes at a time, and only a clear gain is kept.

The full product of all values has thousands of combinations, and the settings hardly depend on each other. So each
value is compared once with the best settings so far, beginning with ONNX Runtime's defaults. If two or more settings
were changed, a second pass compares those values again that were tried before the last change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from onnxbuild.tables.sessions.session_settings import SETTINGS, Name, Values, in_words, thread_counts
from onnxbuild.workers.tune.interleaved import Spread

_PASSES = 2
DEFAULT = "default"


class Verdict(Struct, frozen=True, kw_only=True):
    """What a comparison of some settings with the best ones showed. Without `candidate`, nothing was timed."""

    kept: bool
    why: str
    figure: str = ""
    candidate: Spread | None = None
    control: Spread | None = None
    rounds: int = 0


class Trial(Struct, frozen=True, kw_only=True):
    """One value of one setting, compared with the settings `against`."""

    setting: Name
    value: str
    against: str
    verdict: Verdict

    @property
    def facts(self) -> dict[str, Any]:
        """The trial as facts."""
        verdict, ranges = self.verdict, {}
        if verdict.candidate is not None and verdict.control is not None:
            ranges = {"gain": rounded(verdict.candidate), "default_again": rounded(verdict.control)}
        named = {"setting": self.setting, "value": self.value, "against": self.against, "figure": verdict.figure}
        return {**named, **ranges, "rounds": verdict.rounds, "kept": verdict.kept, "why": verdict.why}


def rounded(one: Spread) -> dict[str, float]:
    """A range with the digits that a clock is good for."""
    return {name: float(f"{getattr(one, name):.4g}") for name in ("median", "min", "max")}


def descend(
    names: Sequence[Name], threads: Sequence[int], cores: int, compare: Callable[[Values, Values], Verdict]
) -> tuple[Values, list[Trial]]:
    """The settings that remain, and everything that was tried; `compare` gets the best settings and other ones."""
    best: Values = {}
    trials: list[Trial] = []
    seen: list[tuple[Values, Values]] = []
    for _ in range(_PASSES):
        changes = 0
        for name in names:
            for value in _values(name, threads):
                other = _with(best, name, value)
                if other == best or (best, other) in seen or not _matters(name, other, cores):
                    continue
                seen.append((best, other))
                verdict = compare(best, other)
                trials.append(Trial(setting=name, value=value, against=in_words(best), verdict=verdict))
                if verdict.kept:
                    seen.append((other, best))  # the way back is known to be worse
                    best, changes = other, changes + 1
        if changes < 2:  # noqa: PLR2004 - everything before the one change was compared with what it changed from
            break
    return best, trials


def _values(name: Name, threads: Sequence[int]) -> Iterator[str]:
    """The values of a setting to try, and last the default, in case that the setting was changed before."""
    yield from map(str, threads) if name == "threads" else SETTINGS[name].values
    yield DEFAULT


def _with(best: Values, name: Name, value: str) -> Values:
    others = {one: text for one, text in best.items() if one != name}
    changed = others if value == DEFAULT else {**others, name: value}
    return {one: changed[one] for one in SETTINGS if one in changed}


def _matters(name: Name, values: Values, cores: int) -> bool:
    """Whether a setting can have an effect: with one thread there is nothing to spin, to split or to run beside."""
    return not SETTINGS[name].of_threads or threads_of(values, cores) > 1


def threads_of(values: Values, cores: int) -> int:
    """How many threads compute one operator."""
    return int(values.get("threads", cores))


def candidates_of_threads(written: Sequence[int], cores: int, physical: int | None = None) -> tuple[int, ...]:
    """The numbers of threads to try."""
    return tuple(written) or thread_counts(cores, physical)
