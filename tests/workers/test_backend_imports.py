"""Who uses no backend imports nothing of one, and who uses one nothing of another."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from small_models import classifier

from onnxbuild.steps.compiling.backends import BACKENDS
from onnxbuild.steps.compiling.compiled_record import (
    CompiledRecord,
    CompiledStage,
    CompilerOfRecord,
    StageInput,
    write_record,
)
from onnxbuild.steps.compiling.ort_backend import OrtParams
from onnxbuild.workers.compile.ort import ort_worker

ROOT = Path(__file__).parents[2]

SCRIPT = """
import json, sys
from pathlib import Path
from onnxbuild.workers.engines.compiled.open_variant import open_variant

open_variant(Path(sys.argv[1]), threads=1)
heavy = {"openvino", "nncf", "onnxruntime_qnn", "qaicrt", "torch", "transformers"}
print(json.dumps([sorted(sys.modules), sorted(heavy & {name.partition(".")[0] for name in sys.modules})]))
"""

# Each backend says which module has its engine, wherever that stands.
ENGINES = {backend.engine.partition(":")[0] for backend in BACKENDS}


def imported(folder):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    modules, heavy = json.loads(done.stdout)
    return sorted(name.rpartition(".")[2] for name in ENGINES & set(modules)), heavy


@pytest.fixture
def optimized(tmp_path):
    ort_worker.run(OrtParams(backend="ort"), {"model": classifier().onnx}, {"model": tmp_path}, lambda *_: None)
    return tmp_path


def test_a_variant_that_is_not_compiled_needs_no_engine_of_a_backend():
    assert imported(classifier().onnx) == ([], [])


def test_a_compiled_variant_needs_its_own_engine(optimized):
    assert imported(optimized) == (["ort_engine"], [])


@pytest.fixture
def for_a_card(tmp_path):
    """An encoder for Cloud AI 100 that returns the tokens that it is given."""
    value = onnx.helper.make_tensor_value_info
    names, shape = ("input_ids", "attention_mask"), ["batch_size", "seq_len"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", list(names), ["output"])],
        "tokens",
        [value(name, onnx.TensorProto.INT64, shape) for name in names],
        [value("output", onnx.TensorProto.INT64, shape)],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "model.onnx")
    rows = [{"name": "Embedding", "symbols": {"batch_size": "1", "seq_len": "9"}}]
    (tmp_path / "specializations.json").write_text(json.dumps({"specializations": rows}))
    tokens = StageInput(("batch_size", "sequence_length"), "tensor(int64)")
    stage = CompiledStage(file="model.onnx", inputs=dict.fromkeys(names, tokens), outputs={"output": (1, 9)})
    record = CompiledRecord(
        backend="qaic",
        state="prepared",
        compiler=CompilerOfRecord(name="qaic-compile"),
        device="Cloud AI 100",
        stages={"forward": stage},
        settings={"decodes": False, "devices": 1},
    )
    write_record(tmp_path, record, ["model.onnx", "specializations.json"])
    return tmp_path


def test_an_engine_beside_its_compiler_imports_nothing_that_only_compiles(for_a_card):
    assert imported(for_a_card) == (["qaic_engine"], [])


def test_every_backend_has_an_engine_that_this_finds():
    assert {"openvino_engine", "ort_engine", "qnn_engine", "qaic_engine", "provider_engine"} == {
        name.rpartition(".")[2] for name in ENGINES
    }


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
