"""`serve` of a manifest whose source is on a Hub that breaks off: what is built, what is refused, what is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hub_server import HubServer
from hub_uploads import Trouble
from serving import serving
from test_served_labels import folder_of

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
MANIFEST = """\
onnxbuild: 1
models:
  topics: {source: "hub:org/topics", task: text-classification, targets: [{name: fp32, validate: false}]}
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    folder_of(tmp_path / "checkpoint", {"model_type": "bert", "num_labels": 3}, classes=3)
    (tmp_path / "m.yaml").write_text(MANIFEST)
    return tmp_path


def onnxbuild(folder, *arguments, hub):
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
                   "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT)}  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "onnxbuild", *arguments], cwd=folder, env=environment,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_a_source_that_breaks_off_leaves_nothing_and_is_served_once_it_is_whole(project):
    files = {one.name: one.read_bytes() for one in (project / "checkpoint").iterdir()}
    with HubServer() as hub:
        commit = hub.add("org/topics", files)
        graph = f"GET /org/topics/resolve/{commit}/model.onnx"
        hub.troubles = [Trouble(graph, 429, {"Retry-After": "0"})] * 9
        done = onnxbuild(project, "run", "m.yaml", hub=hub)
        assert done.returncode == 1
        assert "OBE15 topics:fetch failed: the Hub limits the rate of requests" in done.stdout
        assert sum(one == graph for one in hub.requests) == 5, "the action is not repeated after that"
        assert not (project / "out").exists()
        store = project / ".onnxbuild" / "store"
        assert [one for part in ("blobs", "work", "traces") for one in (store / part).rglob("*") if one.is_file()] == []
        asked = len(hub.requests)
        done = onnxbuild(project, "serve", "m.yaml", hub=hub)
        assert (done.returncode, done.stderr.splitlines()) == (2, [
            "OB741 no model was delivered to `out/topics/fp32`", "  = hint: `onnxbuild run m.yaml topics/fp32`"
        ])  # fmt: skip
        assert len(hub.requests) == asked

        hub.troubles = [Trouble(graph, None, half=True), Trouble(graph, 503), Trouble(graph, None)]
        done = onnxbuild(project, "run", "m.yaml", hub=hub)
        assert done.returncode == 0, done.stdout + done.stderr
        assert hub.troubles == []
        asked = len(hub.requests)
        with serving(project / "m.yaml", environment={"HF_ENDPOINT": hub.endpoint}) as server:
            answer = server.request("/classify", {"input": "ship tide"})
        assert len(hub.requests) == asked
    (row,) = answer.json["data"]
    exponents = np.exp([7.0, 4.0, 1.0])  # of the sums of the two words' rows
    for one, (number, expected) in zip(row["labels"], enumerate(exponents / exponents.sum()), strict=True):
        assert one == {"label": f"LABEL_{number}", "score": pytest.approx(expected)}
    assert (project / "out" / "topics" / "fp32" / "model.onnx").read_bytes() == files["model.onnx"]
