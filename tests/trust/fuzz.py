# ruff: noqa: E402 - a script sets its path first
"""`make fuzz COUNT=100000`: damaged inputs for everything that reads what somebody else wrote.

Each surface takes bytes, damaged versions of real ones, and either reads them or raises an error of its own type. Any
other exception would be an exit code 3. A call that takes more than 5 s, or a process that grows by more than 300 MB,
is a finding, too. The same seed gives the same inputs; `--only SURFACE:NUMBER` repeats one.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT), str(Path(__file__).parent)]

from damage import damaged
from surfaces import SURFACES, Surface

SECONDS, MEGABYTES = 5, 300
_SHARES = {  # of 100 inputs
    "manifest": 20, "expander": 15, "lock": 15, "selectors": 10, "rows": 10, "remote": 15, "message": 10,
    "account": 5,
}  # fmt: skip


class TooSlow(BaseException):
    """A call took longer than it may. No `except Exception` catches it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt a call that takes too long."""

    def stop(_number: int, _frame: object) -> None:
        raise TooSlow(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def peak_megabytes() -> float:
    """The most memory that this process has had, on Linux since `_peak_from_now`."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _peak_from_now() -> float:
    """The memory of this process. Linux counts the peak anew; elsewhere, growth below the earlier peak is not seen."""
    with suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    return peak_megabytes()


def finding(surface: Surface, data: bytes) -> str | None:
    """What is wrong with how a surface reads some bytes; None if it is right."""
    before = _peak_from_now()
    try:
        # The clock of a machine that others use, too, is no measure: a hang takes longer than any pause.
        with time_limit(12 * SECONDS):
            began = time.process_time()
            surface.read(data)
    except surface.errors:
        pass
    except (Exception, TooSlow, RecursionError):
        return traceback.format_exc()
    if (seconds := time.process_time() - began) > SECONDS:
        return f"took {seconds:.1f} s of CPU"
    grown = peak_megabytes() - before
    return f"took {grown:.0f} MB" if grown > MEGABYTES else None


def one_input(seeds: Sequence[bytes], seed: int, number: int, *, is_chance: bool = False) -> bytes:
    """The input with a number: every tenth is pure noise. Where bytes are choices, all are noise."""
    dice = random.Random(f"{seed} {number}")
    if is_chance:
        return dice.randbytes(len(seeds[0]))
    if number % 10 == 9:
        return bytes(dice.randrange(256) for _ in range(dice.randrange(80)))
    return damaged(dice.choice(seeds), dice)


def fuzzed(surface: Surface, count: int, seed: int) -> Iterator[tuple[int, bytes, str]]:
    """The findings of a surface: the number of the input, the input, and what was wrong."""
    seeds = surface.seeds()
    for data in seeds:
        words = finding(surface, data)
        assert words is None, f"{surface.name}: an undamaged input fails: {words}"
    for number in range(count):
        data = one_input(seeds, seed, number, is_chance=surface.is_chance)
        if (words := finding(surface, data)) is not None:
            yield number, data, words


def counts(total: int, only: str | None) -> dict[str, int]:
    """How many inputs each surface gets."""
    if only:
        return {only: total}
    return {name: max(1, total * share // 100) for name, share in _SHARES.items()}


def in_folder(make: type[Surface], count: int, seed: int) -> list[tuple[int, bytes, str]]:
    """The findings of a surface, in an empty folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="onnxbuild-fuzz-") as folder:
        os.chdir(folder)
        try:
            return list(fuzzed(make(Path(folder)), count, seed))
        finally:
            os.chdir(before)


def report(name: str, count: int, seconds: float, found: list[tuple[int, bytes, str]]) -> str:
    """One line for a surface, and one finding of each kind."""
    kinds = Counter(words.strip().splitlines()[-1][:100] for _, _, words in found)
    lines = [f"{name:<10} {count:7,} inputs {seconds:7.1f} s {peak_megabytes():5.0f} MB  {len(found)} findings"]
    shown: set[str] = set()
    for number, data, words in found:
        kind = words.strip().splitlines()[-1][:100]
        if kind not in shown:
            shown.add(kind)
            lines += [f"  {kinds[kind]} × {kind}", f"  input {number}: {data[:300]!r}", *words.splitlines()[-12:]]
    return "\n".join(lines)


def main() -> int:
    """Fuzz every surface, or one. The exit code is 1 if there is a finding."""
    parser = argparse.ArgumentParser(
        description="Damaged inputs for everything that reads what somebody else wrote.", allow_abbrev=False
    )
    parser.add_argument("--count", type=int, default=10_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--surface", choices=sorted(_SHARES))
    parser.add_argument("--only", type=int, metavar="NUMBER", help="only this input of a surface, with its traceback")
    options = parser.parse_args()
    findings = 0
    wanted = counts(options.count, options.surface)
    for make in SURFACES:
        if make.name not in wanted:
            continue
        if options.only is not None:
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                surface = make(Path(folder))
                data = one_input(surface.seeds(), options.seed, options.only, is_chance=surface.is_chance)
                print(data, finding(surface, data), sep="\n")
            continue
        began = time.monotonic()
        found = in_folder(make, wanted[make.name], options.seed)
        print(report(make.name, wanted[make.name], time.monotonic() - began, found), flush=True)
        findings += len(found)
    return min(findings, 1)


if __name__ == "__main__":
    sys.exit(main())
