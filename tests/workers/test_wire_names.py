"""The names that loaders know, for the pasts that transformers' exporter hands on."""

import pytest

ir = pytest.importorskip("onnx_ir")

from onnxbuild.workers.export.wire_names import rename  # noqa: E402


def value(name, *shape):
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))


def handed_on(pairs):
    """A graph that hands each input on as the output of the same name."""
    inputs = [value(f"input.{name}" if "layers" in name else name, *shape) for name, shape in pairs]
    nodes = [ir.node("Identity", [one]) for one in inputs]
    outputs = [node.outputs[0] for node in nodes]
    for one, (name, _) in zip(outputs, pairs, strict=True):
        one.name = f"output.{name}"
    graph = ir.Graph(inputs, outputs, nodes=nodes, opset_imports={"": 18}, name="g")
    return ir.Model(graph, ir_version=10)


def test_states_and_indexes_are_named_after_their_layer_and_only_their_rows_are_dynamic():
    model = handed_on([
        ("past_key_values.layers.1.keys", ("s1", 1, "s2", 24)),
        ("past_key_values.layers.1.indexer_keys", ("s1", "s2", 16)),
        ("past_key_values.layers.0.conv_states.0", ("s1", 48, 4)),
        ("past_key_values.layers.0.conv_states.1", ("s1", 24, 3)),
        ("past_key_values.layers.0.recurrent_states.0", ("s1", 4, 8, 16)),
        ("past_key_values.layers.0.is_initialized", (1,)),
    ])  # fmt: skip
    rename(model, ("logits", "past_key_values.layers."))
    assert {one.name: [str(axis) for axis in one.shape] for one in model.graph.inputs} == {
        "past_key_values.0.conv_state": ["batch_size", "48", "4"],
        "past_key_values.0.conv_state.1": ["batch_size", "24", "3"],
        "past_key_values.0.recurrent_state": ["batch_size", "4", "8", "16"],
        "past_key_values.1.indexer_key": ["batch_size", "past_sequence_length", "16"],
        "past_key_values.1.key": ["batch_size", "1", "past_sequence_length", "24"],
    }
    assert [one.name for one in model.graph.outputs] == [
        "present.0.conv_state", "present.0.conv_state.1", "present.0.recurrent_state", "present.1.indexer_key",
        "present.1.key",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bins", "axes"),
    [
        (16, ["batch_size", "encoder_sequence_length", "16"]),
        (None, ["batch_size", "feature_size", "encoder_sequence_length"]),
    ],
)
def test_the_bins_of_a_spectrum_by_frame_are_fixed(bins, axes):
    model = handed_on([("input_features", ("s1", "s2", "s3"))])
    rename(model, ("input_features",), bins=bins)
    (spectrum,) = model.graph.inputs
    assert [str(axis) for axis in spectrum.shape] == axes
