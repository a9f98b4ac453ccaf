"""manifests/two-generations.yaml: models of transformers 4 and 5 in one run, from a command that has neither."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kept import kept_without_results

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "optimum", "onnx", "onnxruntime")

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment in which nothing but onnxbuild is installed, as `pip install` does it."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    script = f"import importlib.util as u; print([name for name in {HEAVY} if u.find_spec(name)])"
    found = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True, cwd=folder)
    assert found.stdout.strip() == "[]"
    return python


def test_a_model_of_each_generation_in_one_run(bare: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "manifests" / "two-generations.yaml", tmp_path)
    shutil.copytree(ROOT / "manifests" / "data", tmp_path / "data")
    store = kept_without_results()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def onnxbuild(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [bare, "-m", "onnxbuild", *arguments, "two-generations.yaml", "--store", str(store)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = onnxbuild("run", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    actions = {event["id"]: event for event in events if event["event"] == "action"}
    assert {event["outcome"] for event in actions.values()} == {"built"}
    exports = {name: actions[f"{name}:export"]["facts"] for name in ("encoder", "llm")}
    assert {name: facts["exporter"] for name, facts in exports.items()} == {
        "encoder": "optimum",
        "llm": "transformers",
    }
    assert exports["llm"]["because"] == (
        "transformers knows ministral3 for text-generation-with-past; optimum cannot export it"
    )
    assert {"encoder/int8:validate", "llm/fp32:validate", "llm/int8:generate"} <= set(actions)
    assert actions["llm/fp32:generate"]["facts"]["agreement"] == {"tokens": 16, "of": 16}

    locked = json.loads((tmp_path / "onnxbuild.lock").read_text())["toolchains"].values()
    transformers = sorted(p["version"] for one in locked for p in one["packages"] if p["name"] == "transformers")
    assert transformers == ["4.57.6", "5.23.0"]

    provenance = json.loads((tmp_path / "out" / "llm" / "int8" / "onnxbuild.json").read_text())
    assert "5.23.0" in json.dumps(provenance)
    assert "up to date: 12 actions, nothing to do" in onnxbuild("run", "--offline").stdout
