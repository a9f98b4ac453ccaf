"""Zeros around a picture stay zeros for a maximum, whatever ONNX Runtime fuses."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnxbuild.workers.export.repairs.zeros_before_pools import keep_zeros_before_pools  # noqa: E402


def saved(folder, *, value=0.0, mode="constant", form="initializer"):
    """A Pad of one pixel on each side, and a maximum of 3 × 3."""
    from onnx import TensorProto, helper, numpy_helper

    pads = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads")
    with_what = numpy_helper.from_array(np.array(value, np.float32), "value")
    nodes = [
        helper.make_node("Pad", ["x", "pads", *(["value"] if form != "absent" else [])], ["padded"], mode=mode),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[3, 3], strides=[2, 2]),
    ]
    if form == "node":
        nodes.insert(0, helper.make_node("Constant", [], ["value"], value=with_what))
    stored = [pads, with_what] if form == "initializer" else [pads]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, size, size])
              for name, size in (("x", 5), ("y", 3))]  # fmt: skip
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], stored)
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


NEGATIVE = -1 - np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)


@pytest.mark.parametrize("form", ["initializer", "node", "absent"])
def test_a_zero_at_the_edge_is_the_largest_of_negative_numbers(tmp_path, form):
    path = saved(tmp_path, form=form)
    keep_zeros_before_pools(tmp_path)
    found = onnxruntime.InferenceSession(path).run(None, {"x": NEGATIVE})[0]
    wanted = np.zeros((3, 3), np.float32)
    wanted[1, 1] = NEGATIVE[0, 0, 1, 1]  # the only window inside the picture
    np.testing.assert_allclose(found[0, 0], wanted, atol=1e-7)
    onnx.checker.check_model(str(path))


@pytest.mark.parametrize(("value", "mode"), [(-3.0, "constant"), (0.0, "edge")])
def test_other_padding_stays_as_it_is(tmp_path, value, mode):
    path = saved(tmp_path, value=value, mode=mode)
    before = path.read_bytes()
    keep_zeros_before_pools(tmp_path)
    assert path.read_bytes() == before
