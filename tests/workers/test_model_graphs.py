"""The files of weights of model folders, under any name, in every step that copies or counts them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.external_data_helper import set_external_data  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.workers.folders.model_graphs import (  # noqa: E402
    check_data,
    check_one_model,
    copy_data,
    data_below,
    external_files,
    size_bytes,
)
from onnxbuild.workers.graphs.graph_files import load_model  # noqa: E402

pytestmark = pytest.mark.heavy

WEIGHT = np.arange(35, dtype=np.float32).reshape(7, 5)


def external(path: Path, file: str, offset: int = 0, *, inputs: tuple[str, ...] = ("x",)) -> Path:
    """A graph whose weight is in a file, and a constant of a local function in the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weight = numpy_helper.from_array(WEIGHT, "w")
    constant = numpy_helper.from_array(WEIGHT[:1], "")
    for tensor, at in ((weight, offset), (constant, offset + 140)):
        length = len(tensor.raw_data)
        set_external_data(tensor, file, at, length)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Shift", ["h"], ["y"], domain="own")]
    values = [helper.make_tensor_value_info(name, 1, ["batch", 7]) for name in inputs]
    graph = helper.make_graph(nodes, "g", values, [helper.make_tensor_value_info("y", 1, ["batch", 5])], [weight])
    body = [helper.make_node("Constant", [], ["c"], value=constant), helper.make_node("Add", ["a", "c"], ["o"])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    shift = helper.make_function("own", "Shift", ["a"], ["o"], body, opsets[:1])
    path.write_bytes(
        helper.make_model(graph, functions=[shift], opset_imports=opsets, ir_version=9).SerializeToString()
    )
    return path


def fill(folder: Path, file: str, before: bytes = b"") -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(before + WEIGHT.tobytes() + WEIGHT[:1].tobytes())


def test_weights_of_functions_and_in_folders_are_read_and_counted(tmp_path):
    path = external(tmp_path / "model.onnx", "a/b/weights", 3)
    fill(tmp_path, "a/b/weights", b"abc")
    assert external_files(path) == ("a/b/weights",)
    assert data_below(tmp_path) == {"a/b/weights"}
    assert size_bytes(path) == path.stat().st_size + 163
    loaded = load_model(path)
    np.testing.assert_array_equal(numpy_helper.to_array(loaded.graph.initializer[0]), WEIGHT)
    constant = loaded.functions[0].node[0].attribute[0].t
    np.testing.assert_array_equal(numpy_helper.to_array(constant), WEIGHT[:1])
    copy_data(path, tmp_path / "copy" / "model.onnx")
    assert (tmp_path / "copy" / "a" / "b" / "weights").read_bytes() == (tmp_path / "a/b/weights").read_bytes()


def test_a_file_that_is_cut_short(tmp_path):
    path = external(tmp_path / "model.onnx", "weights.bin")
    fill(tmp_path, "weights.bin")
    check_data(path)
    os.truncate(tmp_path / "weights.bin", 159)
    with pytest.raises(CheckFailed) as caught:
        check_data(path)
    message = "OBE40 model.onnx: `weights.bin` is cut short: it has 159 bytes, and the graph reads 160"
    assert str(caught.value) == message


def test_two_graphs_may_share_a_file_but_not_a_name(tmp_path):
    first = external(tmp_path / "s" / "encoder_model.onnx", "weights.bin")
    second = external(tmp_path / "s" / "model.onnx", "weights.bin")
    fill(tmp_path / "s", "weights.bin")
    for path in (first, second):
        copy_data(path, tmp_path / "d" / path.name)
    assert (tmp_path / "d" / "weights.bin").stat().st_size == 160
    (tmp_path / "d" / "weights.bin").write_bytes(b"other")
    with pytest.raises(CheckFailed, match=r"OBE40 two graphs need different files with the name `weights\.bin`"):
        copy_data(second, tmp_path / "d" / "model.onnx")


def test_an_export_in_half_precision_keeps_weights_that_two_graphs_share(tmp_path):
    from onnxbuild.workers.export.exported import settle

    for name in ("encoder_model.onnx", "model.onnx"):
        path = external(tmp_path / name, "shared")
        model = onnx.load(path, load_external_data=False)
        model.graph.node[1].CopyFrom(helper.make_node("Identity", ["h"], ["y"]))
        del model.functions[:]
        path.write_bytes(model.SerializeToString())
    fill(tmp_path, "shared")
    settle(tmp_path, "fp16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder_model.onnx", "model.onnx"]
    for name in ("encoder_model.onnx", "model.onnx"):
        (weight,) = load_model(tmp_path / name).graph.initializer
        np.testing.assert_array_equal(numpy_helper.to_array(weight), WEIGHT.astype(np.float16))


def test_weights_with_the_suffix_of_pytorch_are_no_checkpoint(tmp_path):
    from onnxbuild.workers.benchmark.worker import file_bytes
    from onnxbuild.workers.engines.torch_engine import is_onnx

    path = external(tmp_path / "model.onnx", "weights.bin")
    fill(tmp_path, "weights.bin")
    assert is_onnx(tmp_path)
    assert file_bytes(tmp_path) == path.stat().st_size + 160
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert not is_onnx(tmp_path)


@pytest.mark.parametrize(
    ("graphs", "why"),
    [
        ({"a.onnx": "x", "b.onnx": "x"}, "`a.onnx` and `b.onnx` are two models: both are run as `forward`"),
        ({"a.onnx": "x", "b.onnx": "x past_key_values.0.key"}, None),
        (
            {"a.onnx": "past_key_values.0.key", "b.onnx": "past_key_values.0.key use_cache_branch"},
            "`a.onnx` and `b.onnx` are two models: both are run as `prefill`",
        ),
        ({"a.onnx": "x", "onnx/b.onnx": "past_key_values.0.key"},
         "`a.onnx` and `onnx/b.onnx` are in two folders, and loaders read one"),
        ({"encoder_model.onnx": "x", "decoder_model_merged.onnx": "encoder_hidden_states use_cache_branch"}, None),
        ({"decoder_model.onnx": "encoder_hidden_states"},
         "`decoder_model.onnx` reads what the graph of the encoder computes, and there is none"),
        ({"encoder_model.onnx": "x", "decoder_with_past_model.onnx": "encoder_hidden_states"},
         "`decoder_with_past_model.onnx` reads what the graph of the decoder computes, and there is none"),
        ({"encoder_model.onnx": "x", "decoder_model.onnx": "encoder_hidden_states",
          "decoder_with_past_model.onnx": "encoder_hidden_states",
          "decoder_model_merged.onnx": "encoder_hidden_states use_cache_branch"}, None),
    ],
)  # fmt: skip
def test_one_model(tmp_path, graphs, why):
    for name, inputs in graphs.items():
        external(tmp_path / name, "w", inputs=tuple(inputs.split()))
    if why is None:
        check_one_model(tmp_path)
        return
    with pytest.raises(CheckFailed) as caught:
        check_one_model(tmp_path)
    assert str(caught.value) == f"OBE80 {why}"
