"""`onnxbuild.load`, `plan` and `run` as a program calls them, in a process that has imported nothing else of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from plugin.world import World

from onnxbuild.api import _asked

PROGRAM = """
import json, onnxbuild
seen = []
before = onnxbuild.plan("manifest.yaml")
result = onnxbuild.run("manifest.yaml", ["m/a"], jobs=1, on_event=lambda event: seen.append(type(event).__name__))
after = onnxbuild.plan("manifest.yaml", ["m/a"])
print(json.dumps({
    "models": [model.name for model in onnxbuild.load("manifest.yaml").models],
    "before": {outcome.id: outcome.outcome for outcome in before},
    "built": {name: outcome.outcome for name, outcome in result.outcomes.items()},
    "exit_code": result.exit_code,
    "states": [delivery.state for delivery in result.deliveries],
    "after": [outcome.outcome for outcome in after],
    "first_and_last": [seen[0], seen[-1]],
}))
"""


def test_load_plan_and_run_return_values(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.manifest({"a": [{"text": "one"}], "b": [{"text": "two"}]})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=world.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "models": ["m"],
        "before": {"m:fetch": "run", "m/a:toy": "run", "m/b:toy": "run"},
        "built": {"m:fetch": "built", "m/a:toy": "built"},
        "exit_code": 0,
        "states": ["written"],
        "after": ["hit", "hit"],
        "first_and_last": ["RunStarted", "RunFinished"],
    }


@pytest.mark.parametrize("one", ["/nonexistent", "HF_*", "m/a", Path("/nonexistent")])
def test_a_single_value_is_not_taken_for_its_letters(one) -> None:
    asked = _asked("m.yaml", one, None, None, None, one, one, one)
    assert {asked.selectors, asked.allow_paths, asked.allow_env, asked.trust} == {(str(one),)}
    several = _asked("m.yaml", [one, "x"], None, None, None, [one, "x"], [one, "x"], [one, "x"])
    assert {several.selectors, several.allow_paths, several.allow_env, several.trust} == {(str(one), "x")}


def test_variables_may_have_values_of_any_kind_of_a_manifest() -> None:
    asked = _asked("m.yaml", (), {"a": 1, "b": True, "c": "int8", "d": 0.5}, None, None, (), ())
    assert asked.defines == (("a", "1"), ("b", "true"), ("c", "int8"), ("d", "0.5"))


REFUSED = """
import onnxbuild, sys
from onnxbuild.diagnostics import DiagnosticError
for call in (
    lambda: onnxbuild.plan("manifest.yaml", allow_paths="/nonexistent"),
    lambda: onnxbuild.plan("manifest.yaml", allow_paths=["/a\\0b"]),
    lambda: onnxbuild.run("manifest.yaml", out="o\\0ut", allow_paths=".."),
    lambda: onnxbuild.load("no\\0.yaml"),
):
    try:
        call()
    except DiagnosticError as error:
        print(error.diagnostics[0].code)
"""


def test_bad_input_is_a_diagnostic_error(tmp_path: Path) -> None:
    world = World(tmp_path / "here")
    world.manifest({"a": [{"text": "one"}]})
    world.environment.pop("ONNXBUILD_ALLOW_PATH", None)
    path = world.root / "manifest.yaml"
    manifest = json.loads(path.read_text())
    outside = tmp_path / "outside"
    (world.root / "model").rename(outside) if (world.root / "model").is_dir() else outside.mkdir()
    manifest["models"]["m"]["source"] = f"onnx:{outside}"
    path.write_text(json.dumps(manifest))
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], cwd=world.root, env=world.environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (["OB060", "OB085", "OB085", "OB016"], "")
