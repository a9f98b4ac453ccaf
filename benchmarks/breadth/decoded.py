"""The matrices of a quantized graph as numbers, each with the step between two of its values: decoded here, by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

_MOVES = ("Transpose", "Unsqueeze", "Reshape")


class Decoded(NamedTuple):
    """A quantized matrix: what reads it (`table` for rows by index, else `product`), its values, its steps.

    `factor` says how what it is multiplied with is rounded to bytes too: as a whole (0), in blocks of so many numbers
    of a row, or not at all (None).
    """

    name: str
    use: str
    values: np.ndarray
    step: np.ndarray
    factor: int | None


def decoded(folder: Path) -> Iterator[Decoded]:
    """All quantized matrices of the graphs of a folder, those of branches too."""
    for path in sorted(folder.glob("*.onnx")):
        constants: dict[str, Any] = {}
        for graph in _graphs(onnx.load(path).graph):
            constants.update({entry.name: entry for entry in graph.initializer})
            scope = _Scope(graph, constants)
            for node in graph.node:
                yield from _of_node(node, scope)


class _Scope:
    """A graph's constants, those around it too, and who makes and reads what."""

    def __init__(self, graph: Any, constants: Mapping[str, Any]) -> None:
        self._constants = constants
        self._maker = {name: node for node in graph.node for name in node.output}
        self._reader = {name: node for node in graph.node for name in node.input}

    def __contains__(self, name: str) -> bool:
        return name in self._constants

    def __getitem__(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self._constants[name])

    def read_by(self, node: Any, kind: str) -> Any:
        """The node of that kind that reads the node's result, moved or not. It is the only one that does."""
        reader = self._reader[node.output[0]]
        while reader.op_type in _MOVES:
            reader = self._reader[reader.output[0]]
        assert reader.op_type == kind, f"{reader.op_type} reads {node.output[0]}, and no {kind}"
        return reader

    def scale_after(self, node: Any) -> np.ndarray:
        """The weight's part of the two scales by which a product of bytes is multiplied."""
        product = self.read_by(self.read_by(node, "Cast"), "Mul")
        scales = next(self._maker[name] for name in product.input if self._maker[name].op_type == "Mul")
        return self[next(name for name in scales.input if name in self)]


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def _of_node(node: Any, scope: _Scope) -> Iterator[Decoded]:
    if node.op_type == "MatMulNBits":
        yield _of_blocks(node, scope)
    elif node.op_type in {"MatMulInteger", "ConvInteger"} and node.input[1] in scope:
        yield _of_bytes(node.input[1], scope[node.input[3]], scope.scale_after(node), scope)
    elif node.op_type == "Gather" and node.input[0] in scope and scope[node.input[0]].dtype in (np.uint8, np.int8):
        spread = scope.read_by(node, "DequantizeLinear")
        yield _of_bytes(node.input[0], scope[spread.input[2]], scope[spread.input[1]], scope, use="table")


def _of_bytes(name: str, zero: np.ndarray, scale: np.ndarray, scope: _Scope, use: str = "product") -> Decoded:
    """Bytes with one scale and one zero, or one of each per column."""
    values = (scope[name].astype(np.float32) - zero.astype(np.float32)) * scale
    return Decoded(name, use, values, np.broadcast_to(scale, values.shape), 0 if use == "product" else None)


def _of_blocks(node: Any, scope: _Scope) -> Decoded:
    """MatMulNBits: rows of outputs, each in blocks with a scale and a zero (the middle, if there is none)."""
    given = {attribute.name: attribute.i for attribute in node.attribute}
    rows, columns, bits, block = given["N"], given["K"], given["bits"], given["block_size"]
    packed, scales = scope[node.input[1]], scope[node.input[2]].astype(np.float32).reshape(rows, -1)
    blocks = scales.shape[1]
    zeros = np.full((rows, blocks), 1 << (bits - 1), np.float32)
    if len(node.input) > 3 and node.input[3]:
        zeros = _unpacked(scope[node.input[3]].reshape(rows, -1), bits)[:, :blocks]
    numbers = _unpacked(packed.reshape(rows, blocks, -1), bits)
    values = ((numbers - zeros[..., None]) * scales[..., None]).reshape(rows, blocks * block)[:, :columns]
    steps = np.repeat(np.abs(scales), block, axis=1)[:, :columns]
    # Level 4 lets the CPU round the other factor to bytes as well, and it does.
    factor = block if given.get("accuracy_level") == 4 else None
    return Decoded(node.input[1], "product", values.T, steps.T, factor)


def _unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    if bits == 8:
        return packed.astype(np.float32)
    both = np.stack([packed & 15, packed >> 4], axis=-1)
    return both.reshape(*packed.shape[:-1], -1).astype(np.float32)
