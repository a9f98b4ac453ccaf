from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.folders.model_graphs import external_files, size_bytes
from onnxbuild.workers.graphs.graph_files import load_model, save_model
from onnxbuild.workers.graphs.walk import count_operators

pytestmark = pytest.mark.heavy


@pytest.fixture
def model():
    weight = numpy_helper.from_array(np.arange(1024, dtype=np.float32).reshape(32, 32), "weight")
    node = helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 32]) for name in "xy")
    return helper.make_model(helper.make_graph([node], "g", [x], [y], [weight]), ir_version=8)


@pytest.fixture
def external(model, tmp_path):
    path = tmp_path / "model.onnx"
    save_model(model, path, external=True)
    return path


def test_external_data_is_read_through_hard_links(external, model):
    os.link(external.with_name("model.onnx_data"), external.with_name("another name"))
    with pytest.raises(onnx.checker.ValidationError, match="multiple hard links"):
        onnx.load(external)
    loaded = load_model(external)
    assert numpy_helper.to_array(loaded.graph.initializer[0]).sum() == 1023 * 512
    assert external_files(external) == ("model.onnx_data",)
    assert size_bytes(external) == external.stat().st_size + 4096


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "sub/../../secret"])
def test_external_data_outside_the_folder_is_refused(external, location):
    (external.parent.parent / "secret").write_bytes(b"x" * 4096)
    graph = onnx.load(external, load_external_data=False)
    graph.graph.initializer[0].external_data[0].value = location
    external.write_bytes(graph.SerializeToString())
    with pytest.raises(CheckFailed) as caught:
        load_model(external)
    assert str(caught.value) == f"OBE40 model.onnx: external data `{location}` lies outside the model's folder"


def test_missing_and_short_external_data(external):
    data = external.with_name("model.onnx_data")
    data.write_bytes(data.read_bytes()[:4000])
    with pytest.raises(CheckFailed) as caught:
        load_model(external)
    assert str(caught.value) == "OBE40 model.onnx: `model.onnx_data` ends before the tensor `weight` does"
    data.unlink()
    with pytest.raises(CheckFailed) as caught:
        load_model(external)
    assert str(caught.value) == "OBE40 model.onnx: its external data `model.onnx_data` is missing"
    assert caught.value.failure.notes == (
        ("hint", "copy the .onnx file together with its data file, both under their original names"),
    )


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "it is a Git LFS pointer: run `git lfs pull` in the repository that it came from",
        ),
        (b"<!DOCTYPE html><html>", "it is a web page: the download was refused, so check the address and the token"),
        (b"\x00\xff\x00garbage", "the file is damaged or has another format: fetch it again"),
        (b"", "the file is damaged or has another format: fetch it again"),
    ],
)
def test_what_is_no_model_is_told_by_its_first_bytes(tmp_path, content, hint):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(CheckFailed) as caught:
        load_model(path)
    assert str(caught.value) == "OBE41 model.onnx is not an ONNX model"
    assert caught.value.failure.notes == (("hint", hint),)


def test_saved_bytes_hold_neither_paths_nor_the_order_of_metadata(model, tmp_path):
    for name, keys in (("a", "xy"), ("b", "yx")):
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        copy.doc_string = f"/home/{name}/model.py"
        copy.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value=f"/home/{name}/model.py:3")
        for key in keys:
            copy.metadata_props.add(key=key, value="1")
        save_model(copy, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert b"/home" not in (tmp_path / "a").read_bytes()


def test_operators_of_branches_are_counted(model):
    branch = helper.make_graph(list(model.graph.node), "b", [], [model.graph.output[0]])
    choice = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    model.graph.node.append(choice)
    assert count_operators(model) == {"If": 1, "MatMul": 3}
