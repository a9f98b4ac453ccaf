"""Models with an adapter, from the manifest to the delivered graph: it answers what peft's own model answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("peft")

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "workers"))

from adapted_models import adapter, base, ids  # noqa: E402
from hub_server import HubServer  # noqa: E402

pytestmark = pytest.mark.heavy


def onnxbuild(folder: Path, *arguments: str, endpoint: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
                   "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT)}  # fmt: skip
    command = [sys.executable, "-m", "onnxbuild", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_delivered_model_holds_its_adapter_and_the_plan_names_both(tmp_path):
    import onnxruntime

    folder, expected = adapter()
    shutil.copytree(base(), tmp_path / "base")
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    model = {"source": "local:base", "adapter": "hub:me/lora", "task": "text-generation", "targets": ["fp32"]}
    manifest = {"onnxbuild": 1, "targets": {"fp32": {}}, "models": {"m": model}}
    (tmp_path / "m.yaml").write_text(json.dumps(manifest))
    with HubServer() as hub:
        commit = hub.add("me/lora", files)
        done = onnxbuild(tmp_path, "run", "m.yaml", endpoint=hub.endpoint)
        assert done.returncode == 0, done.stdout + done.stderr
        hub.add("me/lora", {**files, "adapter_config.json": b"{}"})  # the lock keeps what was pinned
        again = onnxbuild(tmp_path, "run", "m.yaml", endpoint=hub.endpoint)
    assert (again.returncode, "up to date" in again.stdout + again.stderr) == (0, True)
    lock = json.loads((tmp_path / "onnxbuild.lock").read_text())
    assert lock["sources"]["hub:me/lora@main"]["commit"] == commit
    session = onnxruntime.InferenceSession(tmp_path / "out" / "m" / "fp32" / "model.onnx")
    tokens = ids().numpy()
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    feeds = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "position_ids": positions}
    answer = session.run(["logits"], {one.name: feeds[one.name] for one in session.get_inputs()})[0]
    assert np.abs(answer - expected).max() < 5e-5
