"""QEfficient as the producer, by a stand-in for the package: what it is asked, where it writes, and how it fails."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.qaic_backend import QaicParams
from onnxbuild.tables.compiling.pooled_outputs import Pooled
from onnxbuild.workers.compile.qaic.host_double import HostDouble
from onnxbuild.workers.compile.qaic.qefficient_producer import produce
from onnxbuild.workers.compile.qaic.qefficient_script import pooling_of

# It has the classes of QEfficient 1.23, and its cache: an export is found by the path of the checkpoint alone.
PACKAGE = """
import atexit, json, os
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
            print("exporting", json.dumps(self.options, default=lambda one: one.__name__))
            weight = float(Path(self.path, "weight").read_text())
            place.write_bytes(self.graph(weight).SerializeToString())
        return after(place)

    def graph(self, weight):
        return graph(weight, self.options)

class _Encoder(_Model):
    def graph(self, weight):
        assert list(self.options) in ([], ["pooling"]), "an encoder has no cache"
        name = os.environ.get("STAND_IN_OUTPUT", "output")
        value = h.make_tensor_value_info(name, T.FLOAT, [1])
        made = h.make_graph([h.make_node("Identity", ["w"], [name])], "g", [], [value],
                            [h.make_tensor("w", T.FLOAT, [1], [weight])])
        return h.make_model(made, opset_imports=[h.make_opsetid("", 17)], ir_version=8)

def after(place):
    mode = os.environ.get("STAND_IN_MODE")
    if mode == "silent":
        os._exit(0)
    if mode == "killed":
        os.kill(os.getpid(), 9)
    if mode == "chatty":
        atexit.register(print, "QEfficient: freed 3 GB {")
    if mode == "lost":
        place.unlink()
    if mode == "damaged":
        place.write_bytes(b"no graph")
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

QEFFAutoModelForCausalLM, QEFFAutoModel = _Model, _Encoder
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


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("mode", "code", "message"),
    [
        ("silent", "OBE242", "QEfficient wrote no graph: it ended with code 0 and did not say where the graph is"),
        ("killed", "OBE242", "QEfficient wrote no graph: it was killed by signal 9"),
        ("lost", "OBE242", "QEfficient wrote no graph: it ended with code 0, and its graph `Model.onnx` is not there"),
        ("damaged", "OBE41", "Model.onnx is not an ONNX model"),
    ],
)
def test_a_package_that_ends_without_a_graph(checkpoint, tmp_path, monkeypatch, mode, code, message):
    monkeypatch.setenv("STAND_IN_MODE", mode)
    with pytest.raises(CheckFailed) as caught:
        made(checkpoint, tmp_path / "out")
    assert (caught.value.failure.code, caught.value.failure.message) == (code, message)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("package")
def test_what_libraries_print_at_the_end_is_not_the_answer(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STAND_IN_MODE", "chatty")
    assert weight(made(checkpoint, tmp_path / "out")[0]) == 0.25
    assert "QEfficient: freed 3 GB {" in capsys.readouterr().out


def encoded(checkpoint: Path, folder: Path, **params: Any) -> Any:
    folder.mkdir()
    return produce(QaicParams(producer="qefficient", **params), checkpoint, folder, decodes=False)


def with_modules(checkpoint: Path, *kinds: str) -> None:
    """Make it a checkpoint of sentence-transformers that pools by the first token."""
    modules = [{"path": f"{at}", "type": f"sentence_transformers.models.{kind}"} for at, kind in enumerate(kinds)]
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    (checkpoint / "1").mkdir(exist_ok=True)
    (checkpoint / "1/config.json").write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("kinds", "pooling", "asked", "pooled"),
    [
        ((), "auto", "{}", Pooled("none", normalized=False)),
        ((), "max", '{"pooling": "max"}', Pooled("max", normalized=False)),
        (("Transformer", "Pooling"), "auto", '{"pooling": "cls"}', Pooled("cls", normalized=False)),
        (
            ("Transformer", "Pooling", "Normalize"),
            "auto",
            '{"pooling": "normalized_cls"}',
            Pooled("cls", normalized=True),
        ),
        (("Transformer", "Pooling", "Normalize"), "none", "{}", Pooled("none", normalized=False)),
    ],
)
def test_an_encoder_is_pooled_as_modules_json_says(checkpoint, tmp_path, capsys, kinds, pooling, asked, pooled):
    if kinds:
        with_modules(checkpoint, *kinds)
    config, states, how, about = encoded(checkpoint, tmp_path / "out", pooling=pooling)
    assert f"exporting {asked}\n" in capsys.readouterr().out
    assert (config, states, how, about) == ({"model_type": "gpt2"}, (), pooled, {"qefficient": "1.23.stand-in"})


def test_an_encoder_with_a_module_that_no_graph_can_have(checkpoint, tmp_path):
    with_modules(checkpoint, "Transformer", "Pooling", "Dense")
    with pytest.raises(CheckFailed, match="cannot contain the module `Dense`"):
        encoded(checkpoint, tmp_path / "out")


@pytest.mark.usefixtures("package")
def test_an_encoder_whose_graph_returns_something_else_is_refused(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_OUTPUT", "logits")
    with pytest.raises(CheckFailed, match="the graph of QEfficient does not return `output`"):
        encoded(checkpoint, tmp_path / "out")


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
def test_the_poolings_that_normalize(mode):
    pool = pooling_of(mode, normalized=True)["pooling"]
    assert list(inspect.signature(pool).parameters) == ["last_hidden_states", "attention_mask"], "QEfficient asks"
    states = np.random.default_rng(8).standard_normal((2, 5, 3)).astype(np.float32) - 2
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    seen = [row[:count] for row, count in zip(states, (3, 5), strict=True)]
    by_hand = {
        "mean": [row.mean(0) for row in seen],
        "cls": [row[0] for row in seen],
        "max": [row.max(0) for row in seen],
    }[mode]
    wanted = [vector / np.linalg.norm(vector) for vector in by_hand]
    np.testing.assert_allclose(pool(torch.tensor(states), torch.tensor(mask)).numpy(), wanted, atol=1e-6)
