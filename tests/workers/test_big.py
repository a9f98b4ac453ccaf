"""What holds for weights above 2 GB, on small models whose weights are in a separate file."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest

for module in ("torch", "optimum.onnxruntime"):
    pytest.importorskip(module)

from families import checkpoint, contents, exported, generated_by, generated_by_torch, outputs_of, run_step, scratch  # noqa: E402

from onnxbuild.steps.optimize import OptimizeParams  # noqa: E402
from onnxbuild.steps.quantize import QuantizeParams  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.tables.thresholds import THRESHOLDS  # noqa: E402
from onnxbuild.workers.folders.model_graphs import size_bytes  # noqa: E402
from onnxbuild.workers.graphs import graph_files as graph  # noqa: E402
from onnxbuild.workers.graphs.graph_files import load_graph, load_model, save_model  # noqa: E402
from onnxbuild.workers.graphs.weights import read_external, weight_bytes  # noqa: E402
from onnxbuild.workers.optimize import worker as optimize  # noqa: E402
from onnxbuild.workers.quantize import worker as quantize  # noqa: E402
from onnxbuild.workers.validate import worker as validate  # noqa: E402

pytestmark = pytest.mark.heavy

GENERATE = "text-generation-with-past"


def with_external_data(architecture):
    """An export as it would be above 2 GB: every graph with its weights in a second file."""
    folder = scratch()
    for path in exported(architecture)[1].iterdir():
        if path.suffix == ".onnx":
            save_model(load_model(path), folder / path.name, external=True)
        else:
            shutil.copy(path, folder)
    return folder


@pytest.fixture
def no_weights_in_memory(monkeypatch):
    """Fails the test when a large tensor is read: those of this size are the large ones here."""
    monkeypatch.setattr("onnxbuild.workers.graphs.weightless._SMALL_BYTES", 4096)

    def watched(tensor, path):
        read_external(tensor, path)
        assert len(tensor.raw_data) < 4096, f"{tensor.name} was read"

    monkeypatch.setattr("onnxbuild.workers.graphs.weightless.read_external", watched)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bert"])
def test_a_step_that_changes_the_graph_leaves_the_weights_as_they_are(architecture, no_weights_in_memory):
    source = with_external_data(architecture)
    facts, folder = run_step(optimize.run, OptimizeParams(level="O1"), model=source)
    file = facts["files"]["model.onnx"]
    assert file["weights_left_in_place"] is True
    assert file["nodes"] < file["nodes_before"]
    assert contents(folder)["model.onnx_data"] == contents(source)["model.onnx_data"]
    assert not [v for v in load_graph(folder / "model.onnx").graph.input if "weight" in v.name]
    for found, wanted in zip(outputs_of(folder / "model.onnx"), outputs_of(source / "model.onnx"), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_fusions_above_two_gigabytes_leave_the_weights_as_they_are(monkeypatch, no_weights_in_memory):
    monkeypatch.setattr("onnxbuild.workers.optimize.worker.EXTERNAL_FROM_BYTES", 1 << 10)
    source = with_external_data("llama")
    facts, folder = run_step(optimize.run, OptimizeParams(level="O2"), model=source)
    file = facts["files"]["model.onnx"]
    assert file["weights_left_in_place"] is True
    assert file["fused"]["SkipSimplifiedLayerNormalization"] == 4
    assert contents(folder)["model.onnx_data"] == contents(source)["model.onnx_data"]
    assert generated_by(folder, "llama") == generated_by_torch(checkpoint("llama"), "llama")


def test_every_step_takes_external_data_and_gives_it():
    source = with_external_data("llama")
    bounds = THRESHOLDS["generation"]["fp32"]
    params = ValidateParams(task=GENERATE, thresholds=bounds)
    assert run_step(validate.run, params, ports="report", model=source, reference=checkpoint("llama"))[0]["passed"]
    for method in ("dynamic", "weight-only"):
        quantized = QuantizeParams(method=method, preset="avx512_vnni")
        facts, folder = run_step(quantize.run, quantized, model=source)
        assert facts["quantized"] > 0
        assert {"model.onnx", "model.onnx_data"} <= set(contents(folder))
        assert (folder / "model.onnx_data").stat().st_size < (source / "model.onnx_data").stat().st_size


def test_an_encoder_decoder_keeps_a_file_of_weights_for_each_graph():
    source = with_external_data("t5")
    facts, folder = run_step(optimize.run, OptimizeParams(level="O1"), model=source)
    parts = ("encoder_model", "decoder_model", "decoder_with_past_model")
    for part in parts:
        assert facts["files"][f"{part}.onnx"]["weights_left_in_place"] is True
        assert contents(folder)[f"{part}.onnx_data"] == contents(source)[f"{part}.onnx_data"]
    assert generated_by(folder, "t5") == generated_by_torch(checkpoint("t5"), "t5")


def test_a_model_larger_than_a_message_is_written_with_external_data(monkeypatch, tmp_path):
    # Before the limit moves: the export is made on first use, and other tests read it afterwards.
    model = load_model(exported("bert")[1] / "model.onnx")
    monkeypatch.setattr(graph, "EXTERNAL_FROM_BYTES", 1 << 10)
    save_model(model, tmp_path / "model.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx_data"]
    onnx.checker.check_model(str(tmp_path / "model.onnx"))


def test_a_size_that_protobuf_cannot_compute_comes_from_the_shapes():
    """ByteSize raises beyond 2 GB; here a tensor without content has such dimensions."""
    small = load_model(exported("bert")[1] / "model.onnx")
    assert not graph.exceeds_message(small)
    assert size_bytes(exported("bert")[1] / "model.onnx") >= sum(
        weight_bytes(tensor) for tensor in small.graph.initializer
    )
    small.graph.initializer.add(name="large", data_type=onnx.TensorProto.FLOAT, dims=[1 << 15, 1 << 15])
    assert graph.exceeds_message(small)
