"""Attention with a cache as one operator: com.microsoft.MultiHeadAttention in place of what an exporter writes of it.

No fusion of ONNX Runtime 1.31 knows GPT-2's attention with past as optimum-onnx exports it. The pattern is that of
scaled_dot_product_attention with its heads split off and joined again; the mask is taken as it is, as a bias on the
scores, so that causality and padding stay whatever the exporter made of them.

    Split ─ q ─ Reshape ─ Transpose ───────── Mul ──┐
          ├ k ─ Reshape ─ Transpose ─ Concat ─ Transpose ─ Mul ─ MatMul ─ Add ─ Softmax ─ MatMul ─ Transpose ─ Reshape
          │                  past key ─┘                       mask ─┘               │
          └ v ─ Reshape ─ Transpose ─ Concat ────────────────────────────────────────┘
                           past value ─┘
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxbuild.workers.graphs.nodes import declare_own_operators, remove_dead_nodes, replace_nodes, sort_nodes

_LOWEST = -1e30  # far below any score, and far from overflowing when a score is added
_TO_HEADS = [0, 2, 1, 3]
_LAST_TWO = [0, 1, 3, 2]


class _Found(NamedTuple):
    """One attention: what goes into it, and the nodes whose outputs the new node gives."""

    query: str
    key: str
    value: str
    mask: str
    past_key: str
    past_value: str
    head_size: int
    concat_key: NodeProto
    concat_value: NodeProto
    joined: NodeProto


class _Graph:
    """A graph by what makes each value, and its stored constants."""

    def __init__(self, graph: GraphProto) -> None:
        self.makers: Mapping[str, NodeProto] = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self._stored = {tensor.name: tensor for tensor in graph.initializer}

    def maker(self, name: str, operator: str) -> NodeProto | None:
        """The node that makes a value, where it is of this operator."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == operator else None

    def reader(self, node: NodeProto, operator: str) -> NodeProto | None:
        """The one node that reads what a node gives, where it is of this operator."""
        readers = self.readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == operator else None

    def constant(self, name: str) -> list[int] | None:
        """The numbers of a stored value."""
        if name in self._stored:
            return [int(one) for one in numpy_helper.to_array(self._stored[name]).reshape(-1)]
        node = self.maker(name, "Constant")
        held = [a.t for a in node.attribute if a.name == "value"] if node is not None else []
        return [int(one) for one in numpy_helper.to_array(held[0]).reshape(-1)] if held else None


def fuse_attention_with_past(model: ModelProto, heads: int, hidden: int) -> int:
    """Replace each attention of the pattern above; returns how many. `model` is changed, dead nodes are removed.

    `heads` of `hidden` numbers in all: what has heads of another size stays as it is.
    """
    graph = _Graph(model.graph)
    matched = [
        one for node in model.graph.node if node.op_type == "Softmax" and (one := _match(graph, node)) is not None
    ]
    found = [one for one in matched if heads and one.head_size * heads == hidden]
    if not found:
        return 0
    masks = _finite_masks(model, {one.mask for one in found})
    gone = {id(node) for one in found for node in (one.concat_key, one.concat_value, one.joined)}
    joined_for_shape = _keep_one_for_shape(model, found)
    kept: list[NodeProto] = []
    at = {id(one.joined): one for one in found}
    for node in model.graph.node:
        if id(node) in at:
            kept.append(_attention(at[id(node)], heads, masks))
        elif id(node) not in gone:
            kept.append(node)
    replace_nodes(model.graph, [*kept, joined_for_shape, *(node for _, node in masks.values())])
    remove_dead_nodes(model)
    sort_nodes(model)
    declare_own_operators(model)
    return len(found)


def _keep_one_for_shape(model: ModelProto, found: Sequence[_Found]) -> NodeProto:
    """One joint of past and present keys whose length the masks can be cut to; returns it under a new name.

    Masks read the length of the keys that the new node joins and that it needs the mask for: a cycle. All keys and
    values have one shape, so one copy serves all (300 KB of 498 MB that a token of GPT-2 124M reads).
    """
    lengths = {name for one in found for name in (one.concat_key.output[0], one.concat_value.output[0])}
    kept = NodeProto.FromString(found[0].concat_key.SerializeToString())
    kept.output[0], kept.name = f"{kept.output[0]}_for_shape", f"{kept.name}_for_shape"
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] in lengths:
            node.input[0] = kept.output[0]
    return kept


def _finite_masks(model: ModelProto, masks: Collection[str]) -> dict[str, tuple[str, NodeProto]]:
    """For each mask one without infinities, and the node that makes it.

    Where every score of a row is -inf (padding on the left), the operator gives NaN, which spreads through the cache.
    """
    lowest = "onnxbuild_lowest_score"
    model.graph.initializer.append(helper.make_tensor(lowest, TensorProto.FLOAT, [], [_LOWEST]))
    return {name: (f"{name}_finite", helper.make_node("Max", [name, lowest], [f"{name}_finite"])) for name in masks}


def _attention(found: _Found, heads: int, masks: Mapping[str, tuple[str, NodeProto]]) -> NodeProto:
    """The new node, under the names that the old ones gave their results."""
    return helper.make_node(
        "MultiHeadAttention",
        [found.query, found.key, found.value, "", "", masks[found.mask][0], found.past_key, found.past_value],
        [found.joined.output[0], found.concat_key.output[0], found.concat_value.output[0]],
        name=f"{found.joined.name}_attention",
        domain="com.microsoft",
        num_heads=heads,
    )


def _match(graph: _Graph, softmax: NodeProto) -> _Found | None:
    """The attention around a softmax, None where it is not of the pattern."""
    masked, weights = graph.maker(softmax.input[0], "Add"), _guarded(graph, softmax)
    mixed = graph.reader(weights, "MatMul")
    scores = graph.maker(masked.input[0], "MatMul") if masked is not None else None
    if masked is None or mixed is None or scores is None or mixed.input[0] != weights.output[0]:
        return None
    query = _scaled_query(graph, scores.input[0])
    keys = _scaled_keys(graph, scores.input[1])
    value = _with_past(graph, mixed.input[1])
    joined = _joined(graph, mixed)
    if query is None or keys is None or value is None or joined is None or query[2] != keys[1]:
        return None
    key = _with_past(graph, keys[0])
    if key is None:
        return None
    return _Found(query[0], key[0], value[0], masked.input[1], key[1], value[1], query[1], key[2], value[2], joined)


def _guarded(graph: _Graph, softmax: NodeProto) -> NodeProto:
    """The softmax, or the Where that puts 0 for NaN: a row in which all is masked, if masks are infinite."""
    readers = graph.readers.get(softmax.output[0], [])
    guards = [node for node in readers if node.op_type == "Where" and node.input[2] == softmax.output[0]]
    tested = [node for node in readers if node.op_type == "IsNaN"]
    return guards[0] if len(readers) == 2 and len(guards) == len(tested) == 1 else softmax  # noqa: PLR2004 - just these


def _scaled_query(graph: _Graph, name: str) -> tuple[str, int, str] | None:
    """The projected query [batch, tokens, hidden], the size of a head, and what its scale is taken from."""
    scaled = graph.maker(name, "Mul")
    heads = _split_heads(graph, scaled.input[0]) if scaled is not None else None
    scale = _scale(graph, scaled.input[1]) if scaled is not None else None
    return (*heads, scale) if heads is not None and scale is not None else None


def _scaled_keys(graph: _Graph, name: str) -> tuple[str, str] | None:
    """The keys of all tokens, and what their scale is taken from."""
    scaled = graph.maker(name, "Mul")
    turned = graph.maker(scaled.input[0], "Transpose") if scaled is not None else None
    scale = _scale(graph, scaled.input[1]) if scaled is not None else None
    if turned is None or scale is None or _perm(turned) != _LAST_TWO:
        return None
    return turned.input[0], scale


def _scale(graph: _Graph, name: str) -> str | None:
    """What the root is taken of: query and key share one square root each of 1 / sqrt(head size)."""
    root = graph.maker(name, "Sqrt")
    return root.input[0] if root is not None else None


def _with_past(graph: _Graph, name: str) -> tuple[str, str, NodeProto] | None:
    """What is projected of these tokens, the past before them, and the node that joins both."""
    joint = graph.maker(name, "Concat")
    if joint is None or len(joint.input) != 2 or not any(a.name == "axis" and a.i in {-2, 2} for a in joint.attribute):  # noqa: PLR2004
        return None
    heads = _split_heads(graph, joint.input[1])
    return (heads[0], joint.input[0], joint) if heads is not None else None


def _split_heads(graph: _Graph, name: str) -> tuple[str, int] | None:
    """What is split into heads [batch, tokens, hidden], and the size of one; their number is left to be told by it."""
    turned = graph.maker(name, "Transpose")
    shaped = graph.maker(turned.input[0], "Reshape") if turned is not None and _perm(turned) == _TO_HEADS else None
    shape = graph.maker(shaped.input[1], "Concat") if shaped is not None else None
    if shaped is None or shape is None or len(shape.input) != 4:  # noqa: PLR2004 - batch, tokens, heads, size of a head
        return None
    size = graph.constant(shape.input[3])
    return (shaped.input[0], size[0]) if size and size[0] > 0 else None


def _joined(graph: _Graph, mixed: NodeProto) -> NodeProto | None:
    """The node that joins the heads again."""
    turned = graph.reader(mixed, "Transpose")
    if turned is None or _perm(turned) != _TO_HEADS:
        return None
    readers = graph.readers.get(turned.output[0], [])
    shaped = [node for node in readers if node.op_type == "Reshape"]  # Shapes beside it tell it the batch and length
    return shaped[0] if len(shaped) == 1 and all(node.op_type in {"Reshape", "Shape"} for node in readers) else None


def _perm(node: NodeProto) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
