"""QEfficient as the producer, by a stand-in for the package: what it is asked, where it writes, and how it fails."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import onnx
import pytest

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.qaic_backend import QaicParams
from onnxbuild.workers.compile.qaic.host_double import HostDouble
from onnxbuild.workers.compile.qaic.qefficient_producer import produce

# It has the classes of QEfficient 1.23, and its cache: an export is found by the path of the checkpoint alone.
PACKAGE = """
import json, os
from pathlib import Path
from onnx import TensorProto as T, helper as h

__version__ = "1.23.stand-in"

class _Model:
    def __init__(self, path, **options):
        self.path, self.options = path, options

    @classmethod
    def from_pretrained(cls, path, **options):
        return cls(path, **options)

    def export(self):
        place = Path(os.environ["QEFF_HOME"]) / "Model.onnx"
        if not place.exists():
            print("exporting", json.dumps(self.options))
            weight = float(Path(self.path, "weight").read_text())
            place.write_bytes(graph(weight, self.options).SerializeToString())
        return place

def graph(weight, options):
    rows = "full_batch_size" if options.get("continuous_batching") else "batch_size"
    value = lambda name, shape, kind=T.FLOAT: h.make_tensor_value_info(name, kind, shape)
    state = [rows, 2, "ctx_len", 3]
    inputs = [value("input_ids", ["batch_size", "seq_len"], T.INT64), value("past_key.0", state)]
    outputs = [value("logits", [1]), value(os.environ.get("STAND_IN_STATE", "past_key.0_RetainedState"), state)]
    skipped = h.make_node("Constant", [], ["skipped"], value=h.make_tensor("s", T.INT32, [1], [2147483647]))
    node = h.make_node("CtxGather", ["past_key.0", "skipped"], [outputs[1].name], domain="com.qualcomm.cloud")
    body = h.make_function(
        "com.qualcomm.cloud", "CtxGather", ["data", "place"], ["out"],
        [h.make_node("Gather", ["data", "place"], ["taken"], axis=2), h.make_node("Add", ["data", "taken"], ["out"])],
        [h.make_opsetid("", 17)],
    )
    made = h.make_graph(
        [h.make_node("Identity", ["w"], ["logits"]), skipped, node], "g", inputs, outputs,
        [h.make_tensor("w", T.FLOAT, [1], [weight])],
    )
    opsets = [h.make_opsetid("", 17), h.make_opsetid("com.qualcomm.cloud", 1)]
    return h.make_model(made, opset_imports=opsets, functions=[body], ir_version=8)

QEFFAutoModelForCausalLM = QEFFAutoModel = _Model
"""


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "QEfficient.py").write_text(PACKAGE)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return folder


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2", "_name_or_path": "/somewhere"}')
    (folder / "weight").write_text("0.25")
    return folder


def made(checkpoint: Path, folder: Path, **params: Any) -> tuple[onnx.ModelProto, Any]:
    folder.mkdir()
    answer = produce(QaicParams(producer="qefficient", **params), checkpoint, folder, decodes=True)
    return onnx.load(folder / "model.onnx"), answer


def weight(model: onnx.ModelProto) -> float:
    return float(onnx.numpy_helper.to_array(model.graph.initializer[0])[0])


@pytest.mark.usefixtures("package")
def test_the_graph_is_that_of_the_package(checkpoint, tmp_path, capsys):
    model, (config, states, pooled, about) = made(checkpoint, tmp_path / "out", full_batch_size=3)
    assert (config, states, pooled) == ({"model_type": "gpt2"}, ("past_key.0",), None)
    assert about == {"qefficient": "1.23.stand-in"}
    assert model.graph.input[1].type.tensor_type.shape.dim[0].dim_param == "full_batch_size"
    assert 'exporting {"continuous_batching": true}' in capsys.readouterr().out
    assert [one.name for one in model.functions] == ["CtxGather"]


@pytest.mark.usefixtures("package")
def test_other_weights_at_the_same_path_give_another_graph(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("QEFF_HOME", str(tmp_path))
    assert weight(made(checkpoint, tmp_path / "one")[0]) == 0.25
    (checkpoint / "weight").write_text("0.5")
    assert weight(made(checkpoint, tmp_path / "two")[0]) == 0.5
    assert not (tmp_path / "Model.onnx").exists(), "the home of the user is not used"


def test_without_the_package(checkpoint, tmp_path):
    with pytest.raises(CheckFailed) as caught:
        made(checkpoint, tmp_path / "out")
    assert caught.value.failure.code == "OBE242"
    assert caught.value.failure.message == (
        "QEfficient wrote no graph: ModuleNotFoundError: No module named 'QEfficient'"
    )


@pytest.mark.usefixtures("package")
def test_a_graph_that_does_not_return_its_cache_is_refused(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_STATE", "past_key.0_InternalRetainedState")
    with pytest.raises(CheckFailed, match=r"does not return `past_key\.0_RetainedState`"):
        made(checkpoint, tmp_path / "out")


@pytest.mark.usefixtures("package")
def test_the_double_gives_what_the_card_skips_a_slot_of_its_own(checkpoint, tmp_path):
    made(checkpoint, tmp_path / "out")
    symbols = {"batch_size": "1", "seq_len": "2", "ctx_len": "5"}
    settings = json.dumps({"specializations": [{"name": "Prefill", "symbols": symbols}]})
    (tmp_path / "out/specializations.json").write_text(settings)
    double = HostDouble(tmp_path / "out/model.onnx", tmp_path / "out")
    before = double._kept["past_key.0"].copy()
    assert before.shape == (1, 2, 6, 3), "five slots, and one that nothing reads"
    double.run({"input_ids": onnx.numpy_helper.to_array(onnx.helper.make_tensor("i", 7, [1, 2], [1, 2]))})
    assert (double._kept["past_key.0"] == before + before[:, :, 5:]).all(), "the index that is skipped is the last slot"
