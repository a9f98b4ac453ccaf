"""optimize, quantize and precision run without torch and transformers, whose import takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

for module in ("torch", "optimum.onnxruntime"):
    pytest.importorskip(module)

from families import exported, scratch  # noqa: E402

from onnxbuild.steps.dataset_rows import PORT  # noqa: E402
from onnxbuild.workers.inputs.sentences import SENTENCES  # noqa: E402

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]

STEPS = {
    "optimize-O1": ("optimize", {"level": "O1"}),
    "optimize-O2": ("optimize", {"level": "O2"}),
    "quantize-dynamic": ("quantize", {"method": "dynamic", "preset": "avx2"}),
    "quantize-weight-only": ("quantize", {"method": "weight-only"}),
    "quantize-static": ("quantize", {"method": "static", "preset": "avx2", "dataset": "d", "samples": 3}),
    "quantize-gptq": ("quantize", {"method": "weight-only", "algorithm": "gptq", "dataset": "d", "samples": 3}),
    "precision-fp16": ("precision", {"dtype": "fp16"}),
    "precision-auto": ("precision", {"dtype": "fp16", "keep_fp32": "auto"}),
}

# As the worker process starts: the package is found by its path, and nothing else of this environment is imported.
SCRIPT = """
import json, sys, typing
from importlib import import_module
from pathlib import Path

import msgspec

kind, params, inputs, destination = json.loads(sys.argv[1])
run = import_module(f"onnxbuild.workers.{kind}.worker").run
params = msgspec.convert(params, typing.get_type_hints(run)["params"])
inputs = {port: Path(folder) for port, folder in inputs.items()}
run(params, inputs, {"model": Path(destination)}, lambda *_: None)
print("HEAVY", *sorted({name.split(".")[0] for name in sys.modules} & {"torch", "transformers"}))
"""


@pytest.mark.parametrize("architecture", ["gpt2", "t5"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_imports_neither_torch_nor_transformers(step, architecture):
    kind, params = STEPS[step]
    data = scratch()
    (data / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in SENTENCES[:5]))
    inputs = {"model": str(exported(architecture)[1])} | ({PORT: str(data)} if "dataset" in params else {})
    request = json.dumps([kind, params, inputs, str(scratch())])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, request], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY"
