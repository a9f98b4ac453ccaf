"""The backend `ort`: the optimized graph computes what the graph does, and is refused where it does not hold."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_models import classifier, exported

from onnxbuild.machine import this_machine
from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.ort_backend import OrtParams
from onnxbuild.workers.compile.ort import ort_worker
from onnxbuild.workers.engines.compiled.open_variant import open_variant
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel

CPU = this_machine().int8_preset

# ONNX Runtime's tool that lists operators leaves the graph open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def silent(*_said):
    """No progress."""


def compiled(model, folder, **params):
    folder.mkdir()
    facts = ort_worker.run(OrtParams(backend="ort", **params), {"model": model.onnx}, {"model": folder}, silent)
    return folder, facts


def feeds(rows, tokens):
    ids = np.random.default_rng(3).integers(5, 400, (rows, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def altered(folder, change):
    path = folder / "compiled.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def code_of(folder):
    with pytest.raises(CheckFailed) as caught:
        open_variant(folder, threads=1)
    return caught.value.failure.code


@pytest.mark.parametrize(
    ("params", "file", "most"),
    [  # other fusions add in another order
        ({"cpu": CPU}, "model.onnx", 0.0),
        ({"format": "ort", "cpu": CPU}, "model.ort", 0.0),
        ({"level": "basic"}, "model.onnx", 1e-5),
    ],
)
def test_the_optimized_graph_computes_what_the_graph_does(tmp_path, params, file, most):
    folder, facts = compiled(classifier(), tmp_path / "out", **params)
    plain, optimized = OnnxModel(classifier().onnx, threads=1), open_variant(folder, threads=1)
    fed = feeds(3, 17)
    assert np.abs(plain.run("forward", fed)["logits"] - optimized.run("forward", fed)["logits"]).max() <= most
    assert (facts["state"], (folder / file).is_file()) == ("compiled", True)
    assert {"config.json", "tokenizer.json", "compiled.json"} <= {one.name for one in folder.iterdir()}


def test_a_decoder_with_a_past(tmp_path):
    folder, _ = compiled(exported("gpt2"), tmp_path / "out", cpu=CPU)
    plain, optimized = OnnxModel(exported("gpt2").onnx, threads=1), open_variant(folder, threads=1)
    assert set(optimized.stages) == set(plain.stages)
    fed = {"input_ids": np.array([[4, 9, 2, 7, 5]]), "attention_mask": np.ones((1, 5), np.int64)}
    fed["position_ids"] = np.arange(5)[None]
    expected, found = plain.run("prefill", fed), optimized.run("prefill", fed)
    assert {name: float(np.abs(expected[name] - found[name]).max()) for name in expected} == dict.fromkeys(
        expected, 0.0
    )


def test_the_optimizer_has_fused_something(tmp_path):
    folder, _ = compiled(classifier(), tmp_path / "out", level="extended")
    nodes = [node.op_type for node in onnx.load(folder / "model.onnx").graph.node]
    assert "BiasGelu" in nodes
    assert len(nodes) < len(onnx.load(classifier().onnx / "model.onnx").graph.node)


@pytest.mark.parametrize(
    ("types", "name"), [(True, "required_operators_and_types.config"), (False, "required_operators.config")]
)
def test_a_small_build_is_told_what_it_needs(tmp_path, types, name):
    folder, _ = compiled(classifier(), tmp_path / "out", format="ort", type_reduction=types)
    text = (folder / name).read_text(encoding="utf-8")
    assert "Softmax" in text
    assert ('"float"' in text) is types
    assert str(tmp_path) not in text


def test_two_compilations_are_equal(tmp_path):
    """Those of `format: onnx`: ONNX Runtime writes its own format with other bytes each time."""
    for name in ("one", "two"):
        compiled(classifier(), tmp_path / name)
    files = {
        name: {one.name: one.read_bytes() for one in (tmp_path / name).iterdir() if one.is_file()}
        for name in ("one", "two")
    }
    assert files["one"] == files["two"]


def _flip(folder: Path):
    path = folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (_flip, "OBE232"),
        (lambda folder: altered(folder, lambda record: record["compiler"].update(version="1.0")), "OBE233"),
        (lambda folder: altered(folder, lambda record: record["settings"].pop("cpu")), "OBE234"),
        (lambda folder: altered(folder, lambda record: record["settings"].update(cpu="another")), "OBE250"),
        (lambda folder: (folder / "compiled.json").write_text("{"), "OBE230"),
    ],
    ids=["stale", "version", "property", "cpu", "record"],
)
def test_what_does_not_hold_here_is_refused(tmp_path, damage, code):
    folder, _ = compiled(classifier(), tmp_path / "out", cpu=CPU)
    open_variant(folder, threads=1)
    damage(folder)
    assert code_of(folder) == code


def test_a_graph_for_all_cpus_names_none(tmp_path):
    folder, _ = compiled(classifier(), tmp_path / "out", level="extended")
    assert json.loads((folder / "compiled.json").read_text(encoding="utf-8"))["settings"]["cpu"] == ""


def test_a_graph_that_onnx_runtime_does_not_load(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    value = onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["rows", 3])
    other = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.INT64, ["rows", 3])
    node = onnx.helper.make_node("NoSuchOperator", ["input_ids"], ["out"])
    graph = onnx.helper.make_graph([node], "g", [value], [other])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), source / "model.onnx")
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckFailed) as caught:
        ort_worker.run(OrtParams(), {"model": source}, {"model": tmp_path / "out"}, silent)
    assert caught.value.failure.code == "OBE238"


def test_an_optimizer_that_writes_nothing_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_given, **_more: None)
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckFailed) as caught:
        ort_worker.run(OrtParams(), {"model": classifier().onnx}, {"model": tmp_path / "out"}, silent)
    assert caught.value.failure.code == "OBE236"
