"""jsonschema is imported for a manifest with a structural fault, and for no other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VALID = """\
onnxbuild: 1
vars: {opset: 17}
targets: {fp32: {}, o2: {optimize: O2}, q4: {steps: [{quantize: {method: weight-only, bits: 4}}]}}
models:
  "m-${matrix.seed}":
    matrix: {seed: [3, 5]}
    source: {random: bert, seed: "${matrix.seed}"}
    task: fill-mask
    export: {opset: "${vars.opset}"}
    targets: [fp32, {name: own, optimize: O1}, q4]
    validate: {shapes: [[2, 9]], thresholds: {max_abs: 0.5}}
    benchmark: true
"""


def imported_by(arguments, text, folder):
    """The exit code of a command, and whether it imported jsonschema."""
    (folder / "m.yaml").write_text(text)
    code = (
        "import sys\nfrom onnxbuild.cli import run_command\n"
        f"code = run_command({arguments!r})\nprint(code, 'jsonschema' in sys.modules, file=sys.stderr)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    exit_code, imported = done.stderr.splitlines()[-1].split()
    return int(exit_code), imported == "True"


@pytest.mark.parametrize("arguments", [["lint", "m.yaml"], ["plan", "m.yaml"], ["graph", "m.yaml"]], ids=" ".join)
def test_a_valid_manifest_needs_no_jsonschema(arguments, tmp_path):
    assert imported_by(arguments, VALID, tmp_path) == (0, False)


def test_a_fault_that_no_schema_sees_needs_no_jsonschema(tmp_path):
    assert imported_by(["lint", "m.yaml"], VALID.replace("q4]", "q5]"), tmp_path) == (2, False)


def test_a_structural_fault_is_found_by_jsonschema(tmp_path):
    assert imported_by(["lint", "m.yaml"], VALID.replace("bits: 4", "bits: 5"), tmp_path) == (2, True)
