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


WITHOUT_ONNX_RUNTIME = """
import json, sys
from importlib import import_module
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "onnxruntime":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from onnxbuild.steps.compiling.backends import backend_named
from onnxbuild.workers.engines.compiled import needs_here

version = needs_here.version_here
needs_here.version_here = lambda name: None if name == "onnxruntime" else version(name)
backend, source, folder = backend_named(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
module, _, function = backend.worker.partition(":")
facts = getattr(import_module(module), function)(
    backend.params(), {"model": source}, {"model": folder}, lambda *_: None
)
print(json.dumps([facts["state"], facts.get("needs")]))
"""


@pytest.mark.parametrize(("name", "state"), [("ort", ["prepared", "onnxruntime"]), ("openvino", ["compiled", None])])
def test_without_onnx_runtime_a_backend_does_what_lint_says(tmp_path, name, state):
    if name == "openvino":
        pytest.importorskip("openvino")
    command = [sys.executable, "-c", WITHOUT_ONNX_RUNTIME, name, str(classifier().onnx), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == state
    graphs = {one.name for one in tmp_path.glob("model.*")}
    assert graphs == ({"model.onnx"} if name == "ort" else {"model.xml", "model.bin", "model.blob"})
