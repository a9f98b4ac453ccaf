"""`make kill COUNT=1000`: kill builds with SIGKILL, of toys and of the real MiniLM, and compare with clean builds."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from commands.test_kill_real import kill_and_compare
from trust.killing import KILLS, build_killed

REAL = 20  # of 1,000 kills, how many are of a real build


def tried(what: str, work: Callable[[Path, int], int], seeds: Iterable[int], jobs: int) -> tuple[int, int]:
    """How many kills were made, and how many builds did not survive theirs."""
    with tempfile.TemporaryDirectory(prefix="onnxbuild-kill-") as folder, ThreadPoolExecutor(jobs) as pool:

        def one(seed: int) -> tuple[int, int]:
            try:
                return work(Path(folder, str(seed)), seed), 0
            except AssertionError as error:
                print(f"{what} {seed}: {error}", flush=True)
                return 0, 1

        results = list(pool.map(one, seeds))
    return sum(kills for kills, _ in results), sum(lost for _, lost in results)


def main() -> int:
    """The exit code is 1 if something was lost, partial or stale after a kill."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--toys-only", action="store_true", help="needs no framework")
    options = parser.parse_args()
    real = 0 if options.toys_only else max(1, options.count * REAL // 1000)
    began = time.monotonic()
    builds = -(-(options.count - real) // KILLS)
    toys = tried("toys", build_killed, range(options.seed, options.seed + builds), options.jobs)
    models = tried("minilm", lambda folder, seed: kill_and_compare(folder, seed, real), [options.seed][: bool(real)], 1)
    for what, (kills, lost) in (("toys", toys), ("MiniLM", models)):
        print(f"{what}: {kills} kills, {lost} builds with something lost, partial or stale")
    print(f"in {(time.monotonic() - began) / 60:.1f} min")
    return min(1, toys[1] + models[1])


if __name__ == "__main__":
    sys.exit(main())
