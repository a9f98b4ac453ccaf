"""`make mutants ROOM=store SAMPLE=80 SEED=1`: change the code of a room in one place, and see whether a test fails.

The light tests of the room are collected once, and run once to learn which functions each of them calls. For each
mutant, a forked process runs those that call the changed function, the fastest first. A mutant that no test notices is
a gap in the tests, or the same program in other words: `equivalent_mutants.txt` lists those, with the reason.
"""

from __future__ import annotations

import argparse
import queue
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutants.copies import Copy
from mutants.mutant import Mutant
from mutants.mutation import sampled
from mutants.rooms import TESTS, Room
from mutants.trials import KNOWN, NOTICED, SURVIVED, TIMED_OUT, Bench, Verdict, profiled

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")


def equivalents() -> set[tuple[str, str]]:
    """The mutants that are known to be the same program: the module, and the change."""
    blocks = [block.strip().splitlines() for block in EQUIVALENT.read_text(encoding="utf-8").split("\n\n")]
    return {(path, _squeezed("\n".join(change))) for path, _reason, *change in blocks if not path.startswith("#")}


def _squeezed(change: str) -> str:
    """A change without its indentation, so that moving the code does not matter."""
    return "\n".join(line[:1] + line[1:].strip() for line in change.splitlines())


def verdicts(mutants: Sequence[Mutant], benches: Sequence[Bench]) -> Iterator[Verdict]:
    """The verdict of each mutant, as they come: one bench tries one mutant at a time."""
    known = equivalents()
    new = [one for one in mutants if (one.path, _squeezed(one.change)) not in known]
    yield from (Verdict(one, KNOWN) for one in mutants if one not in new)
    free: queue.SimpleQueue[Bench] = queue.SimpleQueue()
    for bench in benches:
        free.put(bench)

    def tried(mutant: Mutant) -> Verdict:
        bench = free.get()
        try:
            return bench.tried(mutant)
        finally:
            free.put(bench)

    with ThreadPoolExecutor(len(benches)) as pool:
        yield from pool.map(tried, new)


def report(room: Room, found: Sequence[Verdict], total: int, seconds: float) -> str:
    """The table, and every mutant that no test noticed."""
    counts = Counter(one.outcome for one in found)
    judged = len(found) - counts[KNOWN]
    noticed = counts[NOTICED] + counts[TIMED_OUT]
    share = 100 * noticed / max(judged, 1)
    lines = [
        f"{room.name}: {len(found)} of {total} mutants tried in {seconds / 60:.1f} min",
        f"  noticed {noticed} of {judged} ({share:.0f} %), of which {counts[TIMED_OUT]} by a time limit",
        f"  known to be equivalent: {counts[KNOWN]}",
    ]
    survivors = [one.mutant for one in found if one.outcome == SURVIVED]
    for one in sorted(survivors, key=lambda mutant: (mutant.path, mutant.line)):
        lines += ["", f"survived: {one.path}:{one.line}", one.change]
    return "\n".join(lines)


def main() -> int:
    """Try a sample. The exit code is 1 if fewer are noticed than `--at-least`."""
    options = arguments()
    room = Room(ROOT, options.room, options.only)
    room.tests = options.tests or room.tests
    mutants, total = sampled(ROOT, room.paths, options.sample, options.seed)
    with tempfile.TemporaryDirectory(prefix="onnxbuild-mutants-", ignore_cleanup_errors=True) as folder:
        began = time.monotonic()
        found = list(_shown(verdicts(mutants, _benches(room, Path(folder), options.jobs))))
        text = report(room, found, total, time.monotonic() - began)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    survived = sum(one.outcome == SURVIVED for one in found)
    judged = sum(one.outcome != KNOWN for one in found)
    return int(100 * (judged - survived) < options.at_least * judged)


def _benches(room: Room, folder: Path, jobs: int) -> list[Bench]:
    copies = [Copy(ROOT, folder / str(number)) for number in range(jobs)]
    began = time.monotonic()
    profile = profiled(copies[0], room.tests)
    print(f"{room.name}: {len(profile.seconds)} tests took {time.monotonic() - began:.0f} s", flush=True)
    for test in profile.failing:
        print(f"  left out, because it fails without a mutant: {test}", flush=True)
    return [Bench(copy, room.tests, profile) for copy in copies]


def _shown(found: Iterator[Verdict]) -> Iterator[Verdict]:
    """The same verdicts, each printed as it comes."""
    for number, one in enumerate(found, 1):
        place = f"{one.mutant.path}:{one.mutant.line}"
        print(f"  {number} {one.outcome} {place} {one.seconds:.1f} s {one.test}", flush=True)
        if one.outcome == SURVIVED:
            print(one.mutant.change, flush=True)
        yield one


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Try mutants of a room on its light tests.", allow_abbrev=False)
    parser.add_argument("room", choices=sorted(TESTS))
    parser.add_argument("only", nargs="*", metavar="MODULE", help="only these modules of the room, such as `slots`")
    parser.add_argument("--tests", nargs="+", metavar="PATH", help="these tests instead of all of the room")
    parser.add_argument("--sample", type=int, default=60, metavar="N", help="how many mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="mutants at the same time")
    parser.add_argument("--at-least", type=float, default=0, metavar="PERCENT", help="exit with 1 below this share")
    parser.add_argument("--output", type=Path, metavar="FILE", help="also write the report to this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
