"""A model in PyTorch, ONNX Runtime and OpenVINO in one run: validated, measured side by side, and one is chosen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onnxbuild.report.result.figures import NONE

pytestmark = pytest.mark.heavy
pytest.importorskip("openvino")

SOURCE = {
    "random": "bert",
    "config": {
        "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80,
        "vocab_size": 211, "max_position_embeddings": 70,
    },
}  # fmt: skip
STATIC = {"backend": "openvino", "bounds": {"batch_size": "2", "sequence_length": "33"}}
MANIFEST = {
    "onnxbuild": 1,
    "targets": {"fp32": {}, "ov": {"compile": "openvino"}, "static": {"compile": STATIC}},
    "models": {
        "m": {
            "source": SOURCE,
            "task": "feature-extraction",
            "targets": ["fp32", "ov"],
            "select": {"minimize": "latency.p50"},
            "benchmark": {"iterations": 6, "rounds": 2, "warmup": 2, "batch": [3], "sequence": [17]},
        },
        "s": {
            "source": SOURCE,
            "task": "feature-extraction",
            "targets": ["static"],
            "benchmark": {"iterations": 4, "rounds": 2, "warmup": 1, "batch": [3], "sequence": [17]},
        },
    },
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("world")
    (root / "manifest.yaml").write_text(json.dumps(MANIFEST))
    return root, command(root, "run", "manifest.yaml")


def command(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "onnxbuild", *arguments, "--store", "store"], cwd=root, text=True, capture_output=True,
        check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def facts(root: Path, kind: str) -> dict[str, object]:
    """What an action of the compiled variant found."""
    content = json.loads((root / "out/m/ov/onnxbuild.json").read_text())
    return next(one["facts"] for one in content["steps"] if one["id"] == f"m/ov:{kind}")


def test_it_is_validated_against_pytorch_and_says_where(built) -> None:
    root, shown = built
    found = facts(root, "validate")
    assert (found["passed"], found["backend"], found["reference"]) == (True, "openvino", "torch")
    assert found["executed_on"] == {"place": "device", "name": "CPU"}
    assert found["metrics"]["max_abs"] < 1e-4
    assert "verified on CPU" in shown


def test_it_is_measured_beside_pytorch_and_onnx_runtime(built) -> None:
    root, shown = built
    found = facts(root, "benchmark")
    (result,) = found["results"]
    assert set(result["engines"]) == {"openvino", "torch", "onnxruntime"}
    assert set(result["speedup"]) == {"torch", "onnxruntime"}
    assert (found["headline"]["engine"], found["headline"]["baseline"]) == ("openvino", "torch")
    assert result["threads_used"] == {"openvino": 1, "torch": 1, "onnxruntime": 1}
    lines = shown.splitlines()
    at = next(number for number, line in enumerate(lines) if "onnxruntime p50" in line)
    heading, plain, compiled = (line.split() for line in lines[at : at + 3])
    assert heading[-4:] == ["speed-up", "onnxruntime", "p50", "speed-up"]
    assert plain[-2:] == [NONE, NONE]
    assert compiled[0] == "m/ov"
    assert compiled[-1] != NONE


def test_select_chooses_among_runtimes_and_the_report_shows_the_state(built) -> None:
    root, _ = built
    rows = {
        one["name"]: one for one in json.loads(command(root, "status", "manifest.yaml", "--format", "json"))["variants"]
    }
    fastest = min(rows.values(), key=lambda row: row["latency_ms"])["name"].removeprefix("m/")
    best = root / "out/m/best"
    assert (best / "compiled.json").is_file() == (fastest == "ov")
    assert rows["m/ov"]["state"] == "verified on CPU"
    command(root, "report", "manifest.yaml", "--format", "markdown", "--output", "report.md")
    assert "verified on CPU" in (root / "report.md").read_text()


def test_a_variant_of_one_shape_is_validated_and_measured_with_it(built) -> None:
    root, _ = built
    content = json.loads((root / "out/s/static/onnxbuild.json").read_text())
    found = {one["kind"]: one["facts"] for one in content["steps"] if one["id"].startswith("s/static:")}
    assert found["validate"]["passed"] is True
    assert found["validate"]["metrics"]["max_abs"] < 1e-4
    assert found["validate"]["samples"]["rows"] > 3
    (result,) = found["benchmark"]["results"]
    assert (result["batch"], result["sequence"], set(result["engines"])) == (
        3,
        17,
        {"openvino", "torch", "onnxruntime"},
    )
    assert 'shape="2,33"' in (root / "out/s/static/model.xml").read_text()
