"""A GPTQ checkpoint from the manifest to the delivered graphs: its own 4 bits, within the bounds of fp32."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "workers"))

from packed_checkpoints import packed  # noqa: E402

pytestmark = pytest.mark.heavy

TARGETS = {
    "stored": {"quantize": "stored"},
    "optimized": {"optimize": "O1", "quantize": "stored"},
}


def test_stored_codes_are_delivered_within_the_bounds_of_fp32(tmp_path):
    folder, expected, layers = packed("gptq")
    shutil.copytree(folder, tmp_path / "packed")
    model = {"source": "local:packed", "task": "text-generation", "targets": list(TARGETS)}
    (tmp_path / "m.yaml").write_text(json.dumps({"onnxbuild": 1, "targets": TARGETS, "models": {"m": model}}))
    done = subprocess.run(
        [sys.executable, "-m", "onnxbuild", "run", "m.yaml"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    import torch
    from transformers import LlamaForCausalLM

    ids = np.random.default_rng(4).integers(1, 211, (2, 17))
    with torch.no_grad():
        reference = LlamaForCausalLM.from_pretrained(expected, dtype=torch.float32)(
            torch.from_numpy(ids)
        ).logits.numpy()
    for target in TARGETS:
        path = tmp_path / "out" / "m" / target / "model.onnx"
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids),
                 "position_ids": np.broadcast_to(np.arange(17), ids.shape)}  # fmt: skip
        session = onnxruntime.InferenceSession(path)
        answer = session.run(["logits"], {one.name: feeds[one.name] for one in session.get_inputs()})[0]
        assert np.abs(answer - reference).max() < 2e-5 * np.abs(reference).max(), target
        kinds = [node.op_type for node in onnx.load(path).graph.node]
        assert kinds.count("MatMulNBits") == len(layers), target
        record = json.loads((path.parent / "onnxbuild.json").read_text())
        assert record["precision"] == "q4-stored"
