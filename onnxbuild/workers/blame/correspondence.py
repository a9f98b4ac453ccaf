"""Which tensors of two graphs correspond, and which nodes of the first one the second one has changed.

Optimizers and quantizers keep the name of a tensor that they compute in another way: a fused node ends in the tensor of
the last node that it replaces, and the product of integers is scaled into the tensor of the product of floats.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from hashlib import blake2b

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

# What quantizers append to the name of a tensor that exists only as integers and scales.
_ENDINGS = ("_DequantizeLinear_Output", "_dequantized")
# Parts of the names of operators that compute with quantized numbers, in lower case.
_QUANTIZED = ("quant", "integer", "qlinear", "nbits", "bnb4", "qattention", "qgemm", "qordered")


class Graph:
    """The main graph of a model: who makes a tensor, what is stored, and what a node computes."""

    def __init__(self, model: ModelProto) -> None:
        """Read the nodes, and the digests of what is stored."""
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.makers: Mapping[str, NodeProto] = {name: node for node in self.nodes for name in node.output if name}
        self.stored: Mapping[str, bytes] = dict(_stored(model))

    def reached(self, tensor: str, known: Collection[str]) -> list[NodeProto]:
        """The nodes that compute a tensor from `known` ones, its own first."""
        nodes: list[NodeProto] = []
        waiting, seen = [tensor], {tensor}
        while waiting:
            node = self.makers.get(waiting.pop())
            if node is None:
                continue
            nodes.append(node)
            inner = [name for name in node.input if name and name not in seen and name not in known]
            seen.update(inner)
            waiting += inner
        return nodes

    def read(self, tensor: str, known: Collection[str]) -> set[str]:
        """The nearest `known` tensors that a tensor is computed from."""
        return {name for node in self.reached(tensor, known) for name in node.input if name in known}

    def content(self, nodes: Collection[NodeProto], names: Mapping[str, str]) -> list[tuple[object, ...]]:
        """What nodes compute: operators, attributes, stored values, and what they read of the tensors in `names`.

        Other names do not count: neither theirs, nor those of weights and of tensors between them.
        """
        return sorted((self._content(node, names) for node in nodes), key=repr)

    def _content(self, node: NodeProto, names: Mapping[str, str]) -> tuple[object, ...]:
        attributes = tuple(sorted(one.SerializeToString(deterministic=True) for one in node.attribute))
        read = tuple(self.stored.get(name, names.get(name, "")) for name in node.input)
        return (node.domain, node.op_type, attributes, read)


def _stored(model: ModelProto) -> Iterator[tuple[str, bytes]]:
    for tensor in model.graph.initializer:
        yield tensor.name, _digest(numpy_helper.to_array(tensor))
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            yield node.output[0], _digest(numpy_helper.to_array(node.attribute[0].t))


def _digest(array: np.ndarray) -> bytes:
    state = blake2b(f"{array.dtype}{array.shape}".encode(), digest_size=16)
    state.update(np.ascontiguousarray(array).tobytes())
    return state.digest()


class Correspondence:
    """The tensors of the first graph that the second one has, under the same name or one that is derived from it."""

    def __init__(self, before: ModelProto, after: ModelProto, floats: Collection[str], others: Collection[str]) -> None:
        """`floats` and `others`: the floating-point tensors of the two graphs that can be compared."""
        self.before, self.after = Graph(before), Graph(after)
        self._inputs = {value.name: value.name for value in before.graph.input}
        pairs = ((name, _named_after(name, others)) for name in floats if name not in self._inputs)
        self.pairs: Mapping[str, str] = {name: other for name, other in pairs if other is not None}

    def keep(self, names: Collection[str]) -> None:
        """Forget the other tensors."""
        self.pairs = {name: other for name, other in self.pairs.items() if name in names}

    @cached_property
    def changed(self) -> dict[str, NodeProto]:
        """The nodes of the first graph that compute a tensor in another way than the second one, by that tensor."""
        return {
            name: self.before.makers[name]
            for name in self.pairs
            if name in self.before.makers and self._is_changed(name)
        }

    def inputs_of(self, tensor: str) -> set[str]:
        """The nearest tensors with a counterpart that a tensor of the first graph is computed from."""
        return self.before.read(tensor, self.pairs)

    def is_quantized(self, tensor: str) -> bool:
        """Whether the second graph computes the tensor with quantized numbers, and the first one does not."""
        before, after = self._parts(tensor)
        return any(map(_quantizes, after)) and not any(map(_quantizes, before))

    @cached_property
    def _names(self) -> tuple[dict[str, str], dict[str, str]]:
        """The tensors of each graph that correspond, and the inputs, with the names that the first graph has."""
        same = self._inputs | {name: name for name in self.pairs}
        return same, same | {other: name for name, other in self.pairs.items()}

    def _is_changed(self, tensor: str) -> bool:
        (before, after), (same, others) = self._parts(tensor), self._names
        return self.before.content(before, same) != self.after.content(after, others)

    def _parts(self, tensor: str) -> tuple[list[NodeProto], list[NodeProto]]:
        """The nodes of both graphs between a tensor and those before it that correspond."""
        same, others = self._names
        return self.before.reached(tensor, same), self.after.reached(self.pairs[tensor], others)


def _named_after(name: str, others: Collection[str]) -> str | None:
    return next((one for one in (name, *(f"{name}{ending}" for ending in _ENDINGS)) if one in others), None)


def _quantizes(node: NodeProto) -> bool:
    return any(part in node.op_type.lower() for part in _QUANTIZED)
