"""Quantized graphs beside PyTorch that has the same rounded weights: right stays right, and damage shows."""

import json
import os
import subprocess
import sys

import pytest
from breadth_parts import BENCHMARKS, parts  # noqa: F401 - a fixture of every test here

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
onnx = pytest.importorskip("onnx")


class Net(torch.nn.Module):
    """A table, a product whose weight has a name, and one with two weights that are joined first, with biases."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.table = torch.nn.Embedding(31, 48)
        self.first = torch.nn.Linear(48, 40)
        self.upper = torch.nn.Parameter(torch.randn(13, 36) / 6)
        self.lower = torch.nn.Linear(27, 36)

    def forward(self, ids):
        first = torch.nn.functional.linear(self.table(ids), weight=self.first.weight, bias=self.first.bias)
        return torch.relu(first).matmul(self.second()) + self.lower.bias

    def second(self):
        return torch.cat([self.upper, self.lower.weight.t()], dim=0)


def made(folder, variant, smoothing=1.0):
    """The net as a graph, quantized by ONNX Runtime. `smoothing`: SmoothQuant's scale of one row of `first`."""
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    net = Net().eval()
    scales = np.ones(48, np.float32)
    scales[3] = smoothing
    arrays = {"table": net.table.weight, "first": net.first.weight.T * torch.from_numpy(scales)[:, None],
              "first_bias": net.first.bias, "second": net.second(), "second_bias": net.lower.bias}  # fmt: skip
    stored = [
        numpy_helper.from_array(np.ascontiguousarray(value.detach().numpy()), name) for name, value in arrays.items()
    ]
    stored.append(numpy_helper.from_array(1 / scales, "inverse"))
    nodes = [("Gather", ["table", "ids"], "a"), ("Mul", ["a", "inverse"], "b"), ("MatMul", ["b", "first"], "c"),
             ("Add", ["c", "first_bias"], "d"), ("Relu", ["d"], "e"), ("MatMul", ["e", "second"], "f"),
             ("Add", ["f", "second_bias"], "y")]  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node(kind, read, [written]) for kind, read, written in nodes], "net",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 36])], stored,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    plain = folder / "plain"
    plain.mkdir()
    onnx.save(model, plain / "model.onnx")
    if variant == "int8":
        quantize_dynamic(plain / "model.onnx", folder / "model.onnx", per_channel=True, weight_type=QuantType.QInt8)
    else:
        quantizer = MatMulNBitsQuantizer(model, bits=4, block_size=32, is_symmetric=variant == "q4 symmetric")
        quantizer.process()
        onnx.save(quantizer.model.model, folder / "model.onnx")
    return net


def error(net, folder):
    """The graph's error from PyTorch with the graph's own rounded weights."""
    from comparison import _error
    from rounded_pytorch import rounded
    from sessions import session

    ids = np.arange(7) * 4
    found = session(folder / "model.onnx").run(None, {"ids": ids})[0]
    with torch.inference_mode():
        plain = net(torch.from_numpy(ids)).numpy()
        with rounded(net, folder):
            wanted = net(torch.from_numpy(ids)).numpy()
        assert np.array_equal(net(torch.from_numpy(ids)).numpy(), plain)  # the network is itself again
    assert _error(found, plain, "y")["rms"] > 3e-3
    return _error(found, wanted, "y")["rms"]


@pytest.mark.parametrize(("variant", "smoothing"), [("q4", 1.0), ("q4 symmetric", 1.0), ("int8", 1.0), ("int8", 4.0)])
def test_a_graph_is_near_pytorch_with_its_own_rounded_weights(tmp_path, variant, smoothing):
    assert error(made(tmp_path, variant, smoothing), tmp_path) < 1e-5


def change(path, name, function):
    """Change a stored array of a graph."""
    from onnx import numpy_helper

    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if name(tensor.name))
    tensor.CopyFrom(numpy_helper.from_array(function(numpy_helper.to_array(tensor)), tensor.name))
    path.unlink()  # it may be a link to the store
    onnx.save(model, path)


@pytest.mark.parametrize("variant", ["q4", "int8"])
def test_a_doubled_matrix_is_none_of_the_checkpoint_or_seen_in_the_answer(tmp_path, variant):
    from rounded_pytorch import Foreign

    net, doubled = made(tmp_path, variant), {"q4": "second", "int8": "first"}[variant]
    change(tmp_path / "model.onnx", lambda name: name.startswith(doubled) and "scale" in name, lambda old: 2 * old)
    if variant == "q4":
        with pytest.raises(Foreign, match="40×36, is none of the checkpoint"):
            error(net, tmp_path)
    else:  # twice the matrix, as if SmoothQuant had scaled every row, and nothing divides what it is multiplied with
        assert error(net, tmp_path) > 0.5


@pytest.mark.parametrize("variant", ["q4", "int8"])
def test_a_doubled_weight_that_is_not_quantized_is_seen_in_the_answer(tmp_path, variant):
    net = made(tmp_path, variant)
    change(tmp_path / "model.onnx", lambda name: name == "first_bias", lambda old: 2 * old)
    assert error(net, tmp_path) > 0.1


def test_one_value_of_a_matrix_that_is_two_steps_away_is_found(tmp_path):
    from rounded_pytorch import Foreign

    def moved(packed):
        packed = packed.copy()
        packed.flat[5] = (packed.flat[5] & 0xF0) | ((packed.flat[5] & 15) + (2 if packed.flat[5] & 15 < 8 else -2))
        return packed

    net = made(tmp_path, "q4")
    change(tmp_path / "model.onnx", lambda name: name.startswith("first_Q4"), moved)
    with pytest.raises(Foreign, match="48×40"):
        error(net, tmp_path)


@pytest.mark.heavy
def test_experts_that_are_far_from_pytorch_are_right_and_a_doubled_matrix_in_them_is_wrong(tmp_path):
    pytest.importorskip("optimum.onnxruntime")
    work = tmp_path / "work"
    command = [sys.executable, str(BENCHMARKS / "breadth.py"), "--exporter", "optimum", "--variant", "int8", "q4",
               "--together", "--work", str(work), "--store", str(tmp_path / "store"),
               "--results", str(tmp_path / "results.jsonl"), "--batch", "2", "-j", "2",
               "--type", "granite", "qwen3_moe"]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {(row["type"], row["variant"]): row["verdict"] for row in rows} == dict.fromkeys(
        [(name, variant) for name in ("granite", "qwen3_moe") for variant in ("int8", "q4")], "right"
    ), done.stdout
    assert any("from PyTorch with the same rounded weights" in row["message"] for row in rows)
    for variant, ending, seen in (("int8", "_scale", "rounded"), ("q4", "_scales", "foreign")):
        folder = work / "out" / "granite" / variant
        change(
            folder / "model.onnx", lambda name, end=ending: "MatMul" in name and name.endswith(end), lambda old: 2 * old
        )
        assert seen in judged_again(work, variant)


def judged_again(work, variant):
    """The answer on granite after its graph was damaged: that it is wrong, in either way."""
    from judging import judged

    job = {"task": "text-generation-with-past", "checkpoint": str(work / "checkpoints" / "optimum" / "granite"),
           "onnx": str(work / "out" / "granite" / variant), "variant": variant}  # fmt: skip
    command = [sys.executable, str(BENCHMARKS / "breadth" / "comparison.py")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=True, env=environment)
    answer = json.loads(done.stdout)
    assert judged(variant, answer).word == "wrong"
    return answer
