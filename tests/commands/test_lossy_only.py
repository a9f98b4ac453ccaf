"""A model of which only a quantized variant is asked for: what is wrong with the export fails the run all the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("optimum.exporters.onnx")

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
# PyTorch attends in blocks above (5 + 2 × 1) × 16 tokens, and the export does not.
CONFIG = {
    "hidden_size": 30, "num_hidden_layers": 2, "num_attention_heads": 5, "intermediate_size": 37, "vocab_size": 300,
    "max_position_embeddings": 640, "block_size": 16, "num_random_blocks": 1, "initializer_range": 0.4,
}  # fmt: skip
QUANTIZED = {"name": "int8", "quantize": "int8", "validate": {"thresholds": {"top1": 0.2}}}


def run(folder, **export):
    source = {"random": "big_bird", "config": CONFIG}
    model = {"source": source, "task": "fill-mask", "export": export, "targets": [QUANTIZED]}
    (folder / "m.yaml").write_text(json.dumps({"onnxbuild": 1, "models": {"m": model}}))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "onnxbuild", "run", "m.yaml"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_an_export_that_holds_in_part_is_not_delivered_as_int8(tmp_path):
    failed = run(tmp_path, exporter="optimum")
    assert failed.returncode == 1
    assert "OBE86 m/int8:validate-fp32 failed: the graph holds up to 112 tokens, and fails with 131" in failed.stdout
    assert "int8:validate failed" not in failed.stdout  # the bounds of int8 hide it
    assert not (tmp_path / "out").exists()

    accepted = run(tmp_path, exporter="optimum", max_length=112)
    assert accepted.returncode == 0, accepted.stdout
    delivered = json.loads((tmp_path / "out" / "m" / "int8" / "onnxbuild.json").read_text())
    assert "m/int8:validate-fp32" in {step["id"] for step in delivered["steps"]}
