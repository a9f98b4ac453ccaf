"""The outline of ONNX files, compared with what the onnx library reads; damaged files are refused."""

from __future__ import annotations

import contextlib
import random

import pytest

from onnxbuild.onnx_files.onnx_outline import NotOnnx, below_its_folder, read_outline

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

pytestmark = pytest.mark.heavy


def stored(name, location, offset=0, length=12, dims=(3,)):
    """A tensor in a file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def add(left, right, made):
    return helper.make_node("Add", [left, right], [made])


def constant(name, tensor):
    return helper.make_node("Constant", [], [name], value=tensor)


def branches(made, then, other):
    """An If whose branches have these nodes and weights."""
    graphs = [
        helper.make_graph(nodes, f"branch{number}", [], [value(f"{made}{number}", 3)], weights)
        for number, (nodes, weights) in enumerate((then, other))
    ]
    return helper.make_node("If", ["condition"], [made], then_branch=graphs[0], else_branch=graphs[1])


def everywhere():
    """A model with a tensor in each place that may have one, each in a file named after the place."""
    inner = branches(
        "deep",
        ([add("x", "i", "deep0")], [stored("i", "deep/inner")]),
        ([constant("deep1", stored("", "deep/constant"))], []),
    )
    nodes = [
        constant("c", stored("", "constant.bin", 4, 12)),
        constant("large", helper.make_tensor("", TensorProto.FLOAT, [400_000], b"location" * 200_000, raw=True)),
        branches("b", ([inner, add("deep", "x", "b0")], []), ([constant("b1", stored("", "branch"))], [])),
        helper.make_node("Local", ["x"], ["l"], domain="own"),
        add("x", "w", "y"),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes, "g", [value("x", 3), value("condition"), value("w", 3)], [value("y", 3)],
            [stored("w", "weights.bin", 100, 12), stored("v", "weights.bin", 8, 20),
             helper.make_tensor("kept", 1, [3], [1.0, 2, 3])],
        ),
        ir_version=3, producer_name="at this location",
    )  # fmt: skip
    sparse = model.graph.sparse_initializer.add(dims=[7])
    sparse.values.CopyFrom(stored("s", "sparse.values"))
    sparse.indices.CopyFrom(stored("", "sparse.indices", 0, 24))
    function = model.functions.add(name="Local", domain="own", input=["a"], output=["o"])
    function.node.extend([constant("k", stored("", "function/constant")), add("a", "k", "o")])
    function.attribute_proto.add(name="t", type=onnx.AttributeProto.TENSOR).t.CopyFrom(stored("", "function/attribute"))
    return model


def test_all_places_of_tensors(tmp_path):
    (tmp_path / "model.onnx").write_bytes(everywhere().SerializeToString())
    outline = read_outline(tmp_path / "model.onnx")
    assert outline.inputs == ("x", "condition")
    assert outline.data == {
        "branch": 12, "constant.bin": 16, "deep/constant": 12, "deep/inner": 12, "function/attribute": 12,
        "function/constant": 12, "sparse.indices": 24, "sparse.values": 12, "weights.bin": 112,
    }  # fmt: skip


def test_weights_in_the_file_are_not_external(tmp_path):
    model = everywhere()
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.DEFAULT  # the entries remain, as some converters leave them
    del model.graph.initializer[1]
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert "weights.bin" not in read_outline(tmp_path / "model.onnx").data


def test_the_workers_see_the_same_tensors(tmp_path):
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    from onnxbuild.workers.graphs.walk import tensors_of

    model = everywhere()
    model.functions[0].attribute_proto.pop()  # a default of an attribute, which no runtime reads
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    locations = {ExternalDataInfo(tensor).location for tensor in tensors_of(model) if uses_external_data(tensor)}
    assert locations == set(read_outline(tmp_path / "model.onnx").data)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"<!DOCTYPE html><html>", b"version https://git-lfs", bytes(64), b"\xff" * 64]
)
def test_what_is_no_model(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(NotOnnx):
        read_outline(tmp_path / "model.onnx")


def test_damaged_files_are_read_or_refused(tmp_path):
    model = everywhere()
    model.graph.node.pop(1)
    whole, path, source = model.SerializeToString(), tmp_path / "model.onnx", random.Random(7)
    for _ in range(3000):
        data = bytearray(whole[: source.randrange(len(whole))] if source.random() < 0.3 else whole)
        for _ in range(source.randrange(1, 4)):
            if data:
                data[source.randrange(len(data))] = source.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(NotOnnx):
            read_outline(path)


def test_a_graph_that_never_ends_is_refused(tmp_path):
    graph = b"\x52\x08location"  # its description: what has this word is not skipped
    for _ in range(200):  # attribute → graph → node → attribute …
        attribute = b"\x32" + _length(graph) + graph
        node = b"\x2a" + _length(attribute) + attribute
        graph = b"\x0a" + _length(node) + node
    (tmp_path / "model.onnx").write_bytes(b"\x3a" + _length(graph) + graph)
    with pytest.raises(NotOnnx, match=r"nested too deeply"):
        read_outline(tmp_path / "model.onnx")
    many = b"\x0a\x00" * 2_100_000
    (tmp_path / "model.onnx").write_bytes(b"\x3a" + _length(many) + many)
    with pytest.raises(NotOnnx, match="too many parts"):
        read_outline(tmp_path / "model.onnx")


def _length(data):
    number, out = len(data), b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("weights.bin", "weights.bin"),
        ("./a/w", "a/w"),
        ("a//w", "a/w"),
        ("../w", None),
        ("a/../w", None),
        ("/etc/passwd", None),
        ("C:\\w", None),
        ("\\\\server\\share\\w", None),
        ("", None),
        (".", None),
    ],
)
def test_locations(location, name):
    assert below_its_folder(location) == name


@pytest.mark.parametrize(("imports", "opset"), [([("", 11)], 11), ([("own", 3), ("ai.onnx", 9)], 9), ([("own", 3)], 0)])
def test_the_opset_of_the_standard_operators(tmp_path, imports, opset):
    graph = helper.make_graph([add("x", "x", "y")], "g", [value("x", 3)], [value("y", 3)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*one) for one in imports])
    onnx.save(model, tmp_path / "model.onnx")
    assert read_outline(tmp_path / "model.onnx").opset == opset


def test_weights_that_are_inputs_too_are_told_apart(tmp_path):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    graph = helper.make_graph([add("x", "w", "y")], "g", [value("x", 3), value("w", 3)], [value("y", 3)], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    outline = read_outline(tmp_path / "model.onnx")
    assert (outline.inputs, outline.stated) == (("x",), ("w",))
