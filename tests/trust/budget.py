"""`make budget`: what `lint` and `plan` take for manifests that are made to take long, each in its own process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile_manifests import CASES

ROOT = Path(__file__).parents[2]
SECONDS, MEGABYTES = 5.0, 300.0  # what a manifest may take to be refused


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
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "onnxbuild", *words, "m.yaml"],
            cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, preexec_fn=_limit,  # noqa: PLW1509 - this process has one thread
        )  # fmt: skip
        code, usage = _waited(process)
        output.seek(0)
        text = output.read(20_000_000).decode(errors="replace")
    return Spent(code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)


def _limit() -> None:
    """More than the budget, so that the figures can be seen, and no more than the machine bears."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(4 * SECONDS), int(4 * SECONDS) + 1))
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))


def _waited(process: subprocess.Popen[bytes]) -> tuple[int, Any]:
    """The exit code, negative for a process that the limits ended, and what it used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


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
