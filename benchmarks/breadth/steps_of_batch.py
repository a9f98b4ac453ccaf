"""A batch from configs to verdicts: checkpoints, builds, comparisons, and one row per type and variant."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from builds import Batch, Outcome, Places
from judging import Verdict, judged
from model_lists import Kind

HERE = Path(__file__).parent


def rows(
    kinds: list[Kind], variants: Iterable[str], *, python: str, places: Places, jobs: int = 1
) -> Iterator[dict[str, Any]]:
    """A row per type and variant, all types of one exporter. `python` has transformers of the generation it needs."""
    variants, started, work = tuple(variants), time.monotonic(), places.work
    unmade = _make(kinds, python, work)
    made = [kind for kind in kinds if kind.model_type not in unmade]
    outcomes = Batch(places, made, variants, jobs).build() if made else {}
    verdicts = {key: Verdict("refused", outcome.code, outcome.message) for key, outcome in outcomes.items()
                if outcome.folder is None}  # fmt: skip
    verdicts.update(_compare(kinds, outcomes, python, work))
    for kind in kinds:
        for variant in variants:
            found = verdicts.get((kind.model_type, variant)) or Verdict("no checkpoint", "", unmade[kind.model_type])
            yield {"exporter": kind.exporter, "type": kind.model_type, "task": kind.task, "variant": variant,
                   "verdict": found.word, "code": found.code, "message": found.message,
                   "date": time.strftime("%Y-%m-%d"),
                   "seconds": round((time.monotonic() - started) / len(kinds) / len(variants), 1)}  # fmt: skip


def checkpoint_of(kind: Kind, work: Path) -> Path:
    """Where the checkpoint of a type is kept."""
    return work / "checkpoints" / kind.exporter / kind.model_type


def _make(kinds: list[Kind], python: str, work: Path) -> dict[str, str]:
    """Make the checkpoints that are missing; returns why by type, where that is impossible."""
    jobs = [{"type": kind.model_type, "task": kind.task, "folder": str(checkpoint_of(kind, work))} for kind in kinds]
    answers = _ask(python, "checkpoints.py", jobs)
    pairs = zip(kinds, answers, strict=True)
    return {kind.model_type: answer["error"] for kind, answer in pairs if "error" in answer}


def _compare(
    kinds: list[Kind], outcomes: dict[tuple[str, str], Outcome], python: str, work: Path
) -> dict[tuple[str, str], Verdict]:
    by_type = {kind.model_type: kind for kind in kinds}
    delivered = [(key, outcome.folder) for key, outcome in outcomes.items() if outcome.folder is not None]
    jobs = [{"task": by_type[model].task, "checkpoint": str(checkpoint_of(by_type[model], work)), "onnx": str(folder),
             "variant": variant} for (model, variant), folder in delivered]  # fmt: skip
    answers = _ask(python, "comparison.py", jobs)
    return {key: judged(key[1], answer) for (key, _), answer in zip(delivered, answers, strict=True)}


def _ask(python: str, script: str, jobs: list[dict[str, str]]) -> list[dict[str, Any]]:
    """One answer per job. A process that dies answers the job that it was at with an error, and is started again."""
    answers: list[dict[str, Any]] = []
    while len(answers) < len(jobs):
        lines = "".join(json.dumps(job) + "\n" for job in jobs[len(answers) :])
        # Not the paths of this process: what it imports must be its own.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run([python, str(HERE / script)], input=lines, text=True, capture_output=True, check=False,
                              env={**environment, "HF_HUB_OFFLINE": "1"})  # fmt: skip
        answers += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if len(answers) < len(jobs):
            answers.append({"error": f"{script} died (exit code {done.returncode}): {done.stderr[-300:]}"})
    return answers
