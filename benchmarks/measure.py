"""Measure commands: CPU seconds of the whole process tree, wall seconds, and peak memory of the largest process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """What to run, and where. `before` is called before each run and is not measured."""

    words: Sequence[str]
    cwd: Path
    environment: Mapping[str, str] | None = None
    before: Callable[[], None] | None = None


@dataclass(frozen=True)
class Sample:
    """One run. `cpu_seconds` is the user and system time of the process and of every child that it waited for."""

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    output: str


def run_once(command: Command) -> Sample:
    """Run a command to its end. Errors: RuntimeError with the output if it fails."""
    if command.before is not None:
        command.before()
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            list(command.words),
            cwd=command.cwd,
            env=command.environment or _plain(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command.words))} ended with {process.returncode}:\n{text[-4000:]}")
    return Sample(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024, text)


def _plain() -> dict[str, str]:
    """The environment without the settings of Python, which would slow down some of the compared commands."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def interleaved(commands: Mapping[str, Command], repeats: int) -> Mapping[str, list[Sample]]:
    """Run every command `repeats` times, in rounds, so that a noisy minute affects all of them equally."""
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for number in range(repeats):
        for name, command in commands.items():
            samples[name].append(run_once(command))
            print(f"  round {number + 1}: {name} {samples[name][-1].cpu_seconds:.3f} s CPU", file=sys.stderr)
    return samples


def cpu(samples: Sequence[Sample]) -> float:
    """The median of the CPU seconds."""
    return statistics.median(sample.cpu_seconds for sample in samples)


def wall(samples: Sequence[Sample]) -> float:
    """The median of the wall seconds."""
    return statistics.median(sample.wall_seconds for sample in samples)


def peak(samples: Sequence[Sample]) -> int:
    """The largest peak in bytes."""
    return max(sample.peak_bytes for sample in samples)
