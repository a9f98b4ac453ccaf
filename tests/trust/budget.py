"""`make budget`: what `lint` and `plan` take for manifests that are made to take long, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostile_manifests import CASES

ROOT = Path(__file__).parents[2]
SECONDS, MEGABYTES = 5.0, 300.0  # what a manifest may take to be refused


# Runs a command with limits above the budget, so that its figures can be seen, and below what the machine bears. A
# process of its own, because Linux counts the peak of the process that forks as memory of the child.
_MEASURE = """
import json, os, resource, sys
seconds = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
child = os.fork()
if child == 0:
    os.execv(sys.argv[3], sys.argv[3:])
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss], file)
"""


@dataclass(frozen=True)
class Spent:
    """What one command took, and what it printed."""

    code: int
    seconds: float
    megabytes: float
    output: str

    @property
    def within(self) -> bool:
        """Whether it was an answer, and within the budget. CPU time is compared, which a busy machine changes less."""
        return self.code in {0, 2} and self.seconds <= SECONDS and self.megabytes <= MEGABYTES


def spent(folder: Path, files: Mapping[str, str], words: Sequence[str] = ("lint",)) -> Spent:
    """Run a command on files, the first of which is `m.yaml`."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "onnxbuild", *words, "m.yaml"]
    with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile() as figures:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MEASURE, figures.name, str(int(4 * SECONDS)), *command],
            cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, check=True,
        )  # fmt: skip
        code, seconds, kilobytes = json.load(figures)
        output.seek(0)
        text = output.read(20_000_000).decode(errors="replace")
    return Spent(code, seconds, kilobytes / 1024, text)


def main() -> int:
    """Try the named cases, all without names. The exit code is 1 if one is not within the budget."""
    outside = 0
    for name in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory(prefix="onnxbuild-budget-") as folder:
            found = spent(Path(folder), CASES[name]())
        outside += not found.within
        lines = found.output.splitlines()
        print(
            f"{'ok  ' if found.within else 'OVER'} {name:<26} exit {found.code} {found.seconds:6.2f} s CPU"
            f" {found.megabytes:6.0f} MB {len(lines):6} lines: {lines[0][:70] if lines else ''}",
            flush=True,
        )
    return min(outside, 1)


if __name__ == "__main__":
    sys.exit(main())
