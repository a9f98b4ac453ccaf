"""Who uses no backend imports nothing of one, and who uses one nothing of another."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_models import classifier

from onnxbuild.steps.compiling.ort_backend import OrtParams
from onnxbuild.workers.compile.ort import ort_worker

ROOT = Path(__file__).parents[2]

SCRIPT = """
import json, sys
from pathlib import Path
from onnxbuild.workers.engines.compiled.open_variant import open_variant

open_variant(Path(sys.argv[1]), threads=1)
own = "onnxbuild.workers.engines.compiled."
engines = [name.removeprefix(own) for name in sys.modules if name.startswith(own) and name.endswith("_engine")]
heavy = {"openvino", "nncf", "onnxruntime_qnn", "torch", "transformers"}
print(json.dumps([sorted(engines), sorted(heavy & {name.partition(".")[0] for name in sys.modules})]))
"""


def imported(folder):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return json.loads(done.stdout)


@pytest.fixture
def optimized(tmp_path):
    ort_worker.run(OrtParams(backend="ort"), {"model": classifier().onnx}, {"model": tmp_path}, lambda *_: None)
    return tmp_path


def test_a_variant_that_is_not_compiled_needs_no_engine_of_a_backend():
    assert imported(classifier().onnx) == [[], []]


def test_a_compiled_variant_needs_its_own_engine(optimized):
    assert imported(optimized) == [["ort_engine"], []]
