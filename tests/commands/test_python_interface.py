"""`onnxbuild.load`, `plan` and `run` as a program calls them, in a process that has imported nothing else of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from plugin.world import World

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
