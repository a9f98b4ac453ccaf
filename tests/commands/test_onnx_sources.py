"""Runs over `onnx:` and `hub:` sources: what a graph names comes along, and nothing is delivered that does not load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hub_server import HubServer

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.external_data_helper import set_external_data  # noqa: E402

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
X = np.arange(2 * 71, dtype=np.float32).reshape(2, 71) / 71
# Unequal sizes, and a file of its own for each weight: one beside the graph and one in a folder below it.
FILES = ("weights.bin", "parts/second")


def weights(seed: int) -> list[np.ndarray]:
    draw = np.random.default_rng(seed).standard_normal
    return [draw((71, 53)).astype(np.float32), draw((53, 37)).astype(np.float32)]


def answer(seed: int) -> np.ndarray:
    first, second = weights(seed)
    return X @ first @ second


def model(seed: int, files: tuple[str | None, ...] = (None, None), op: str = "MatMul") -> dict[str, bytes]:
    """A graph that multiplies by two weights, with the files in which they are."""
    contents, tensors = {}, []
    for number, (weight, file) in enumerate(zip(weights(seed), files, strict=True)):
        tensor = numpy_helper.from_array(weight, f"w{number}")
        if file is not None:
            contents[file] = tensor.raw_data
            set_external_data(tensor, file, 0, len(tensor.raw_data))
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
        tensors.append(tensor)
    nodes = [helper.make_node("MatMul", ["x", "w0"], ["h"]), helper.make_node(op, ["h", "w1"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, 1, ["batch", width]) for name, width in (("x", 71), ("y", 37)))
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return {"model.onnx": made.SerializeToString(), **contents}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def onnxbuild(folder: Path, manifest: dict, *, command: str = "run", endpoint: str = "") -> subprocess.CompletedProcess:
    (folder / "m.yaml").write_text(json.dumps({"onnxbuild": 1, **manifest}))
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
                   "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT)}  # fmt: skip
    arguments = [sys.executable, "-m", "onnxbuild", command, "m.yaml"]
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def opened(path: Path) -> np.ndarray:
    """What a user gets from a delivered graph."""
    return onnxruntime.InferenceSession(str(path)).run(None, {"x": X})[0]


def test_what_a_graph_names_comes_along_in_every_step(tmp_path):
    write(tmp_path / "model", {**model(3, FILES), "notes.bin": b"other", "model.onnx_data": b"of another model"})
    targets = {
        "raw": {},
        "o1": {"optimize": "O1"},
        "int8": {"quantize": {"method": "dynamic", "operators": ["MatMul"]}},
        "fp16": {"precision": "fp16"},
    }
    models = {"m": {"source": "onnx:model", "validate": False, "targets": list(targets)}}
    done = onnxbuild(tmp_path, {"targets": targets, "models": models})
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out" / "m"
    assert names(out / "raw") == ["model.onnx", "onnxbuild.json", "parts/second", "weights.bin"]
    for target, bound in (("raw", 1e-6), ("o1", 1e-6), ("fp16", 0.02), ("int8", 0.05)):
        assert "notes.bin" not in names(out / target)
        difference = np.abs(opened(out / target / "model.onnx") - answer(3)).max()
        assert difference <= bound * np.abs(answer(3)).max(), target
        assert (tmp_path / "model" / "weights.bin").exists()
    for target in ("int8", "fp16"):  # the weights were written anew
        assert "weights.bin" not in names(out / target)


def test_each_graph_is_picked_by_its_name(tmp_path):
    write(tmp_path / "model", model(1))
    write(tmp_path / "model", {"model_uint8.onnx": model(2)["model.onnx"]})
    several = {"targets": {"raw": {}}, "models": {"m": {"source": "onnx:model", "targets": ["raw"]}}}
    refused = onnxbuild(tmp_path, several)
    assert (refused.returncode, "OB622" in refused.stderr, (tmp_path / "out").exists()) == (2, True, False)
    assert "pick one with `file: model.onnx`; there are `model.onnx`, `model_uint8.onnx`" in refused.stderr
    one_each = {
        name: {"source": "onnx:model", "file": f"{name}.onnx", "targets": ["raw"]} for name in ("model", "model_uint8")
    }
    done = onnxbuild(tmp_path, {"targets": {"raw": {}}, "models": one_each})
    assert done.returncode == 0, done.stderr
    for name, seed in (("model", 1), ("model_uint8", 2)):
        folder = tmp_path / "out" / name / "raw"
        assert names(folder) == [f"{name}.onnx", "onnxbuild.json"]
        np.testing.assert_allclose(opened(folder / f"{name}.onnx"), answer(seed), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("validate", [True, False])
def test_a_model_that_does_not_load_is_never_delivered(tmp_path, validate):
    """Without a step it is not compared, whatever `validate` says; the graph's own error is in the message."""
    write(tmp_path / "model", model(1, op="NoSuchOperator"))
    raw = {"targets": {"raw": {}}, "models": {"m": {"source": "onnx:model", "validate": validate, "targets": ["raw"]}}}
    done = onnxbuild(tmp_path, raw)
    assert done.returncode == 1, done.stderr
    assert "NoSuchOperator" in done.stderr + done.stdout
    assert not (tmp_path / "out" / "m").exists()


def test_weights_that_do_not_fit_the_graph_are_never_delivered(tmp_path):
    files = model(1, FILES)
    made = onnx.load_from_string(files["model.onnx"])
    made.graph.initializer[0].dims[0] = 72  # the file has 71 rows
    write(tmp_path / "model", {**files, "model.onnx": made.SerializeToString()})
    raw = {"targets": {"raw": {}}, "models": {"m": {"source": "onnx:model", "targets": ["raw"]}}}
    done = onnxbuild(tmp_path, raw)
    assert (done.returncode, (tmp_path / "out" / "m").exists()) == (1, False)


def test_another_runtime_may_open_it(tmp_path):
    write(tmp_path / "model", model(1, op="NoSuchOperator"))
    model_block = {"source": "onnx:model", "targets": ["raw"], "load": False}
    assert onnxbuild(tmp_path, {"targets": {"raw": {}}, "models": {"m": model_block}}).returncode == 0
    assert names(tmp_path / "out" / "m" / "raw") == ["model.onnx", "onnxbuild.json"]


def test_an_exporter_that_writes_two_models_is_refused(tmp_path):
    """The validation looks at every graph that it delivers, so it refuses those that it would not run."""
    write(tmp_path / "model", model(1))
    write(tmp_path / "model", {"model_uint8.onnx": model(2)["model.onnx"]})
    from onnxbuild.protocol import CheckFailed
    from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel

    with pytest.raises(CheckFailed) as caught:
        OnnxModel(tmp_path / "model", threads=1)
    message = "OBE80 `model.onnx` and `model_uint8.onnx` are two models: both are run as `forward`"
    assert str(caught.value) == message
    (tmp_path / "model" / "onnx").mkdir()
    (tmp_path / "model" / "model_uint8.onnx").rename(tmp_path / "model" / "onnx" / "decoder.onnx")
    with pytest.raises(CheckFailed, match="two models"):
        OnnxModel(tmp_path / "model", threads=1)


class TestHub:
    FILES: ClassVar[dict[str, bytes]] = {
        **{f"onnx/{name}": content for name, content in model(4, FILES).items()},
        "onnx/model_q4.onnx": model(5)["model.onnx"],
        "onnx/unused.onnx_data": b"x" * 50,
        "config.json": b"{}",
    }

    def run(self, folder: Path, **block: str) -> subprocess.CompletedProcess:
        with HubServer() as hub:
            hub.add("org/ready", self.FILES)
            models = {"m": {"source": "hub:org/ready", "targets": ["raw"], **block}}
            done = onnxbuild(folder, {"targets": {"raw": {}}, "models": models}, endpoint=hub.endpoint)
            self.downloaded = {line.rpartition("/")[2] for line in hub.requests if line.startswith("GET")}
        return done

    def test_a_repository_with_several_graphs_is_refused(self, tmp_path):
        done = self.run(tmp_path)
        assert (done.returncode, "OB622" in done.stderr) == (2, True), done.stderr

    def test_a_graph_of_a_repository_with_all_that_it_names(self, tmp_path):
        done = self.run(tmp_path, file="onnx/model.onnx")
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "out" / "m" / "raw"
        wanted = ["config.json", "onnx/model.onnx", "onnx/parts/second", "onnx/weights.bin", "onnxbuild.json"]
        assert names(folder) == wanted
        np.testing.assert_allclose(opened(folder / "onnx" / "model.onnx"), answer(4), rtol=1e-5, atol=1e-4)
        assert not {"model_q4.onnx", "unused.onnx_data"} & self.downloaded

    def test_a_repository_without_a_file_of_weights_is_a_failure(self, tmp_path, monkeypatch):
        monkeypatch.setattr(self, "FILES", {n: c for n, c in self.FILES.items() if n != "onnx/parts/second"}, False)
        done = self.run(tmp_path, file="onnx/model.onnx")
        assert done.returncode == 1
        assert "OBE40 a graph has weights in `onnx/parts/second`, which is missing" in done.stderr
