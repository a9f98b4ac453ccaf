"""`make mutants ROOM=store SAMPLE=80 SEED=1`: change the code of a room in one place, and see whether a test fails.

Each mutant is written into a copy of the working tree, and the light tests of its room run there. A mutant that no
test notices is a gap in the tests, or the same program in other words: `equivalent_mutants.txt` lists those, with the
reason.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mutation import Mutant, sampled

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")

# The light tests of each room. Those of the first folder are the most likely to notice.
TESTS = {
    "execute": ("tests/execute",),
    "store": ("tests/store", "tests/execute", "tests/commands/test_gc.py", "tests/commands/test_cache.py"),
    "planning": ("tests/planning", "tests/rules", "tests/execute/test_keys.py", "tests/execute/test_kept_keys.py"),
    "receipts": ("tests/receipts", "tests/commands/test_receipts.py", "tests/commands/test_run.py"),
    "deliver": ("tests/deliver", "tests/commands/test_run.py", "tests/commands/test_receipts.py", "tests/execute"),
    "runners": (
        "tests/runners", "tests/execute", "tests/planning/test_toolchains.py", "tests/planning/test_interpreters.py",
    ),
    "manifest": ("tests/manifest", "tests/rules"),
    "workers": ("tests/workers", "tests/execute/test_workers.py", "tests/runners"),
}  # fmt: skip
# Of the workers, only what needs no framework.
LIGHT_WORKERS = ("failures", "libraries", "folders")

# These read the source, and so would notice a change without running it.
PASSED_OVER = ("tests/test_architecture.py",)
NOTICED, SURVIVED, TIMED_OUT, KNOWN = "noticed", "survived", "timed out", "equivalent"
TIME_LIMIT = 86  # the exit code of `fastest_first` after a test that hangs


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant, after how many seconds."""

    mutant: Mutant
    outcome: str
    seconds: float


class Room:
    """The modules and the tests of one room."""

    def __init__(self, name: str, only: Sequence[str]) -> None:
        self.name = name
        folders = [f"workers/{part}" for part in LIGHT_WORKERS] if name == "workers" else [name]
        found = [path for folder in folders for path in sorted((ROOT / "onnxbuild" / folder).rglob("*.py"))]
        if name == "workers":
            found += sorted((ROOT / "onnxbuild" / "workers").glob("*.py"))
        self.paths = [str(path.relative_to(ROOT)) for path in found if not only or path.stem in only]
        self.tests = [path for path in TESTS[name] if (ROOT / path).exists()]


class Copies:
    """Copies of the working tree, one per mutant that is tried at the same time."""

    def __init__(self, folder: Path, count: int) -> None:
        self._free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(count):
            place = folder / str(number)
            for name in _working_tree():
                target = place / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
            self._free.put(place)

    def take(self) -> Path:
        return self._free.get()

    def give_back(self, place: Path) -> None:
        self._free.put(place)


def _working_tree() -> list[str]:
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    return [name for name in names if name and (ROOT / name).is_file()]


def tested(place: Path, tests: Sequence[str], seconds: float | None) -> int | None:
    """The exit code of the tests in a copy, the fastest tests first; None if they did not end in time."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not heavy", "-p", "fastest_first",
               "-p", "no:cacheprovider", *tests]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": f"{place}{os.pathsep}{place / 'tests' / 'trust'}", "PYTHONDONTWRITEBYTECODE": "1",
        "FASTEST_FIRST": str(place.parent / "durations.json"),
    }  # fmt: skip
    with open(place / "pytest.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=place, env=environment, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End everything that the tests started: a mutant may leave processes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tried(mutant: Mutant, room: Room, copies: Copies, seconds: float) -> Verdict:
    """Run the tests of a room on one mutant."""
    place = copies.take()
    began = time.monotonic()
    target = place / mutant.path
    try:
        target.write_text(mutant.text, encoding="utf-8")
        code = tested(place, room.tests, seconds)
        outcome = {0: SURVIVED, None: TIMED_OUT, TIME_LIMIT: TIMED_OUT}.get(code, NOTICED)
        return Verdict(mutant, outcome, time.monotonic() - began)
    finally:
        target.write_text(mutant.original, encoding="utf-8")
        copies.give_back(place)


def equivalents() -> set[tuple[str, str]]:
    """The mutants that are known to be the same program: the module, and the change."""
    blocks = [block.strip().splitlines() for block in EQUIVALENT.read_text(encoding="utf-8").split("\n\n")]
    return {(path, _squeezed("\n".join(change))) for path, _reason, *change in blocks if not path.startswith("#")}


def _squeezed(change: str) -> str:
    """A change without its indentation, so that moving the code does not matter."""
    return "\n".join(line[:1] + line[1:].strip() for line in change.splitlines())


def verdicts(mutants: Sequence[Mutant], room: Room, copies: Copies, jobs: int, seconds: float) -> Iterator[Verdict]:
    """The verdict of each mutant, as they come."""
    known = equivalents()
    new = [one for one in mutants if (one.path, _squeezed(one.change)) not in known]
    yield from (Verdict(one, KNOWN, 0.0) for one in mutants if one not in new)
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda one: tried(one, room, copies, seconds), new)


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
    """Try a sample. The exit code is 1 if fewer are noticed than `--at-least`, and 2 if the tests fail without one."""
    options = arguments()
    room = Room(options.room, options.only)
    room.tests = options.tests or room.tests
    mutants, total = sampled(ROOT, room.paths, options.sample, options.seed)
    with tempfile.TemporaryDirectory(prefix="onnxbuild-mutants-", ignore_cleanup_errors=True) as folder:
        copies = Copies(Path(folder), options.jobs)
        began = time.monotonic()
        place = copies.take()
        if tested(place, room.tests, None) != 0:
            print((place / "pytest.log").read_text(encoding="utf-8", errors="replace")[-6000:])
            print(f"the tests of {room.name} fail without a mutant")
            return 2
        copies.give_back(place)
        limit = 3 * (time.monotonic() - began) + 30
        print(f"{room.name}: {len(mutants)} of {total} mutants; the tests take {limit / 3:.0f} s", flush=True)
        found = []
        for one in verdicts(mutants, room, copies, options.jobs, limit):
            found.append(one)
            print(f"  {len(found)} {one.outcome} {one.mutant.path}:{one.mutant.line} {one.seconds:.0f} s", flush=True)
            if one.outcome == SURVIVED:
                print(one.mutant.change, flush=True)
        text = report(room, found, total, time.monotonic() - began)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    survived = sum(one.outcome == SURVIVED for one in found)
    judged = sum(one.outcome != KNOWN for one in found)
    return int(100 * (judged - survived) < options.at_least * judged)


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
