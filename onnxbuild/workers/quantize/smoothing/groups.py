"""The products of a graph that can be smoothed, in groups that must have the same scales."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from onnx import ModelProto, NodeProto, TensorProto

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.graphs.walk import graphs_of, nodes_of

_MATRIX = 2  # axes
_PRODUCTS = frozenset({"MatMul", "Attention"})  # both multiply input 0 by the stored matrix in input 1

DEEP = "a weight of three axes or more"
READ_ELSEWHERE = "another node reads the weight"


class Product(NamedTuple):
    """One node: its name, the activation that it reads, and the stored matrix [channels, outputs]."""

    name: str
    activation: str
    weight: str


class Group(NamedTuple):
    """Products that share an activation or a weight, directly or through others: one scale per channel serves all.

    In a transformer these are the products for Q, K and V, and one product each elsewhere; where layers share their
    weights (ALBERT), the same products of all layers.
    """

    products: tuple[Product, ...]

    @property
    def name(self) -> str:
        """The name of the first node."""
        return self.products[0].name

    @property
    def activations(self) -> tuple[str, ...]:
        """Each activation once."""
        return tuple(dict.fromkeys(product.activation for product in self.products))

    @property
    def weights(self) -> tuple[str, ...]:
        """Each weight once."""
        return tuple(dict.fromkeys(product.weight for product in self.products))


def groups_in(model: ModelProto, params: QuantizeParams) -> tuple[list[Group], dict[str, list[str]]]:
    """The groups in the order of their first nodes, and the names of the products that cannot be smoothed, by reason.

    Only products that dynamic int8 quantizes: in the main graph, with a stored fp32 weight, and not excluded.
    """
    weights = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    products: list[Product] = []
    left: dict[str, list[str]] = {}
    for node in _quantized(model, params, weights):
        product = Product(node.name or node.output[0], node.input[0], node.input[1])
        if len(weights[product.weight].dims) == _MATRIX:
            products.append(product)
        else:
            left.setdefault(DEEP, []).append(product.name)
    groups = _joined(products)
    shared = {group for group in groups if not _reads_alone(group, reads(model))}
    if shared:
        left[READ_ELSEWHERE] = sorted(product.name for group in shared for product in group.products)
    return [group for group in groups if group not in shared], left


def reads(model: ModelProto) -> Mapping[str, int]:
    """How often nodes and outputs read the numbers of each value, those of branches and loops included."""
    nodes = (node for node in nodes_of(model) if node.op_type != "Shape")
    by_nodes = (name for node in nodes for name in node.input)
    outputs = (value.name for graph in graphs_of(model.graph) for value in graph.output)
    return Counter(chain(by_nodes, outputs))


def _quantized(model: ModelProto, params: QuantizeParams, weights: Mapping[str, TensorProto]) -> Iterator[NodeProto]:
    operators = set(params.operators) & _PRODUCTS if params.operators else _PRODUCTS
    for node in model.graph.node:
        takes = node.op_type in operators and node.name not in params.exclude
        if takes and node.input[1] in weights and node.input[0] not in weights and not _has_own_sizes(node):
            yield node


def _has_own_sizes(node: NodeProto) -> bool:
    """Whether an Attention has heads of different sizes, which ONNX Runtime leaves in float."""
    return any(attribute.name == "qkv_hidden_sizes" for attribute in node.attribute)


def _joined(products: Iterable[Product]) -> list[Group]:
    groups: list[list[Product]] = []
    for product in products:
        near = [group for group in groups if any(_touches(product, other) for other in group)]
        merged = [*chain.from_iterable(near), product]
        place = groups.index(near[0]) if near else len(groups)
        groups[place : place + 1] = [merged]
        groups = [group for group in groups if group is merged or group not in near]
    return [Group(tuple(group)) for group in groups]


def _touches(one: Product, other: Product) -> bool:
    return one.activation == other.activation or one.weight == other.weight


def _reads_alone(group: Group, counts: Mapping[str, int]) -> bool:
    """Whether no other node reads a weight of the group."""
    own = Counter(product.weight for product in group.products)
    return all(counts[weight] == count for weight, count in own.items())
