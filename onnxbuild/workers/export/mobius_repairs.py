"""Repairs of graphs that mobius 0.1.0 writes; whether the result is right is for `validate` to say.

- An encoder's attention gets the mask of padding as it is, whole numbers of [batch, tokens], which ONNX adds to the
  scores of one row: batches fail, and padding is read.
- Layers of linear attention (Qwen3.5, Qwen3-Next) read padding as if it were text, where PyTorch sets it to zero.
- They divide by a norm without the ε that PyTorch adds (1e-6 of the square): a token of zeros gives NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

_LAYER = "/linear_attn/"
_EPSILON = 1e-6
_END = np.iinfo(np.int64).max
_MASKED = ("Attention", 3)  # the operator of ONNX, and which of its inputs is a mask


def repair(model: Any) -> None:
    """Repair what a graph has of these."""
    graph = model.graph
    _shape_masks(graph)
    nodes = [node for node in graph if _LAYER in f"{node.name}"]
    if nodes:
        _mask_padding(graph, nodes)
        _add_epsilon(graph, nodes)


def _shape_masks(graph: Any) -> None:
    from onnx_ir import DataType, tape

    masks = [value for value in graph.inputs if value.name == "attention_mask"]
    readers = [node for mask in masks for node, place in mask.uses() if (node.op_type, place) == _MASKED]
    if readers:
        new = tape.Tape()
        boolean = new.op("Cast", masks, {"to": int(DataType.BOOL)})
        axes = _constant(graph, "attention.mask_axes", np.array([1, 2]))
        one = _constant(graph, "attention.one", np.array([1]))
        # onnxruntime wants a row of the mask for each token, and repeats nothing.
        tokens = new.op("Shape", masks, {"start": 1, "end": 2})
        shape = new.op("Concat", [one, one, tokens, one], {"axis": 0})
        shaped = new.op("Expand", [new.op("Unsqueeze", [boolean, axes]), shape])
        _insert(graph, graph[0], new)
        for node in readers:
            node.replace_input_with(_MASKED[1], shaped)


def _mask_padding(graph: Any, nodes: list[Any]) -> None:
    from onnx_ir import tape

    mask = _insert_mask(graph)
    for value, readers in _read_from_outside(nodes):
        new = tape.Tape()
        masked = new.op("Mul", [value, mask])
        _insert(graph, readers[0], new)
        for reader in readers:
            reader.replace_input_with(0, masked)


def _read_from_outside(nodes: list[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """The hidden states that each layer projects, with the nodes that read them."""
    inside = set(nodes)
    projections = [node for node in nodes if node.op_type == "MatMul" and node.inputs[0].producer() not in inside]
    for value in dict.fromkeys(node.inputs[0] for node in projections):
        yield value, [node for node in projections if node.inputs[0] is value]


def _insert_mask(graph: Any) -> Any:
    """The mask of the new tokens as numbers, [batch, tokens, 1], computed at the start of the graph."""
    from onnx_ir import DataType, tape

    inputs = {value.name: value for value in graph.inputs}
    new = tape.Tape()
    ends = [_constant(graph, f"padding.{name}", np.array([number])) for name, number in (("end", _END), ("axis", 1))]
    tokens = new.op("Shape", [inputs["input_ids"]], {"start": 1, "end": 2})
    last = new.op("Slice", [inputs["attention_mask"], new.op("Neg", [tokens]), *ends])
    numbers = new.op("Cast", [last], {"to": int(DataType.FLOAT)})
    mask = new.op("Unsqueeze", [numbers, _constant(graph, "padding.last", np.array([-1]))])
    _insert(graph, graph[0], new)
    return mask


def _add_epsilon(graph: Any, nodes: list[Any]) -> None:
    from onnx_ir import tape

    epsilon = _constant(graph, "linear_attention.epsilon", np.array(_EPSILON, np.float32))
    for node in nodes:
        squares = node.inputs[0] if node.op_type == "Sqrt" else None
        if squares is not None and squares.producer().op_type == "ReduceSumSquare":
            new = tape.Tape()
            node.replace_input_with(0, new.op("Add", [squares, epsilon]))
            _insert(graph, node, new)


def _insert(graph: Any, before: Any, new: Any) -> None:
    graph.insert_before(before, list(new.nodes))


def _constant(graph: Any, name: str, array: Any) -> Any:
    import onnx_ir

    value = onnx_ir.Value(name=name, const_value=onnx_ir.tensor(array, name=name))
    value.shape, value.type = onnx_ir.Shape(array.shape), onnx_ir.TensorType(value.const_value.dtype)
    graph.register_initializer(value)
    return value
