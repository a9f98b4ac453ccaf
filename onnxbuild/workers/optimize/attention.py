"""Fuses attention with a cache into one operator, com.microsoft.MultiHeadAttention.

No fusion of ONNX Runtime 1.31 recognizes GPT-2's attention with past as optimum-onnx exports it. The pattern is that of
scaled_dot_product_attention with split and joined heads. The mask is used unchanged, as a bias on the scores, so that
causality and padding stay as the exporter wrote them.

    Split ─ q ─ Reshape ─ Transpose ───────── Mul ──┐
          ├ k ─ Reshape ─ Transpose ─ Concat ─ Transpose ─ Mul ─ MatMul ─ Add ─ Softmax ─ MatMul ─ Transpose ─ Reshape
          │                  past key ─┘                       mask ─┘               │
          └ v ─ Reshape ─ Transpose ─ Concat ────────────────────────────────────────┘
                           past value ─┘
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxbuild.workers.graphs.nodes import declare_own_operators, remove_dead_nodes, replace_nodes, sort_nodes

_LOWEST = -1e30  # far below any score, and far from an overflow when a score is added
_TO_HEADS = [0, 2, 1, 3]
_LAST_TWO = [0, 1, 3, 2]


class _Attention(NamedTuple):
    """One attention: its inputs, and the nodes whose outputs the new node provides."""

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


Masks = Mapping[str, tuple[str, NodeProto]]  # mask → its finite form, and the node that computes it


class _Graph:
    """The nodes of a graph by what they compute and read, and its stored constants."""

    def __init__(self, graph: GraphProto) -> None:
        self.makers: Mapping[str, NodeProto] = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self._stored = {tensor.name: tensor for tensor in graph.initializer}

    def maker(self, name: str, operator: str) -> NodeProto | None:
        """The node that computes a value, if it has this operator."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == operator else None

    def reader(self, node: NodeProto, operator: str) -> NodeProto | None:
        """The only node that reads the output of a node, if it has this operator."""
        readers = self.readers.get(node.output[0], [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == operator else None

    def constant(self, name: str) -> list[int] | None:
        """The numbers of a stored value, None for a computed one."""
        tensor = self._stored.get(name)
        node = self.maker(name, "Constant")
        if tensor is None and node is not None:
            tensor = next((a.t for a in node.attribute if a.name == "value"), None)
        return [int(one) for one in numpy_helper.to_array(tensor).reshape(-1)] if tensor is not None else None


def fuse_attention_with_past(model: ModelProto, heads: int, hidden: int) -> int:
    """Replace each attention of the pattern above; returns how many. `model` is changed, dead nodes are removed.

    The model has `heads` of `hidden` numbers in total; attention with heads of another size stays as it is.
    """
    attentions = [one for one in _attentions(model) if heads and one.head_size * heads == hidden]
    if not attentions:
        return 0
    masks = _finite_masks(model, {one.mask for one in attentions})
    joined_for_shape = _keep_one_for_shape(model, attentions)
    kept = list(_with_attentions(model, attentions, heads, masks))
    replace_nodes(model.graph, [*kept, joined_for_shape, *(node for _, node in masks.values())])
    remove_dead_nodes(model)
    sort_nodes(model)
    declare_own_operators(model)
    return len(attentions)


def _attentions(model: ModelProto) -> list[_Attention]:
    graph = _Graph(model.graph)
    matches = (_match(graph, node) for node in model.graph.node if node.op_type == "Softmax")
    return [match for match in matches if match is not None]


def _with_attentions(
    model: ModelProto, attentions: Sequence[_Attention], heads: int, masks: Masks
) -> Iterator[NodeProto]:
    """The nodes of the model, with each attention in place of the node that joined its heads."""
    replaced = {id(node) for one in attentions for node in (one.concat_key, one.concat_value, one.joined)}
    by_place = {id(one.joined): one for one in attentions}
    for node in model.graph.node:
        if id(node) in by_place:
            yield _fused(by_place[id(node)], heads, masks)
        elif id(node) not in replaced:
            yield node


def _keep_one_for_shape(model: ModelProto, attentions: Sequence[_Attention]) -> NodeProto:
    """Keep one concatenation of past and present keys, whose length the masks are cut to; returns it renamed.

    The masks read the length of the keys, which the new node would concatenate while it needs the masks: a cycle. All
    keys and values have one shape, so one copy serves all (300 KB of 498 MB that a token of GPT-2 124M reads).
    """
    lengths = {name for one in attentions for name in (one.concat_key.output[0], one.concat_value.output[0])}
    kept = NodeProto.FromString(attentions[0].concat_key.SerializeToString())
    kept.output[0], kept.name = f"{kept.output[0]}_for_shape", f"{kept.name}_for_shape"
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] in lengths:
            node.input[0] = kept.output[0]
    return kept


def _finite_masks(model: ModelProto, masks: Collection[str]) -> dict[str, tuple[str, NodeProto]]:
    """For each mask, one without infinities and the node that computes it.

    Where every score of a row is -inf (padding on the left), the operator returns NaN, which spreads in the cache.
    """
    lowest = "onnxbuild_lowest_score"
    model.graph.initializer.append(helper.make_tensor(lowest, TensorProto.FLOAT, [], [_LOWEST]))
    return {name: (f"{name}_finite", helper.make_node("Max", [name, lowest], [f"{name}_finite"])) for name in masks}


def _fused(attention: _Attention, heads: int, masks: Masks) -> NodeProto:
    """The new node, whose outputs have the names of the old ones."""
    return helper.make_node(
        "MultiHeadAttention",
        [
            attention.query,
            attention.key,
            attention.value,
            "",
            "",
            masks[attention.mask][0],
            attention.past_key,
            attention.past_value,
        ],
        [attention.joined.output[0], attention.concat_key.output[0], attention.concat_value.output[0]],
        name=f"{attention.joined.name}_attention",
        domain="com.microsoft",
        num_heads=heads,
    )


def _match(graph: _Graph, softmax: NodeProto) -> _Attention | None:
    """The attention around a softmax, None if it does not match the pattern."""
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
    return _Attention(query[0], key[0], value[0], masked.input[1], key[1], value[1], query[1], key[2], value[2], joined)


def _guarded(graph: _Graph, softmax: NodeProto) -> NodeProto:
    """The softmax, or the Where after it that replaces NaN by 0, for rows that an infinite mask hides entirely."""
    readers = graph.readers.get(softmax.output[0], [])
    guards = [node for node in readers if node.op_type == "Where" and node.input[2] == softmax.output[0]]
    tested = [node for node in readers if node.op_type == "IsNaN"]
    return guards[0] if len(readers) == 2 and len(guards) == len(tested) == 1 else softmax  # noqa: PLR2004 - only these


def _scaled_query(graph: _Graph, name: str) -> tuple[str, int, str] | None:
    """The projected query [batch, tokens, hidden], the size of a head, and the source of its scale."""
    scaled = graph.maker(name, "Mul")
    heads = _split_heads(graph, scaled.input[0]) if scaled is not None else None
    scale = _scale(graph, scaled.input[1]) if scaled is not None else None
    return (*heads, scale) if heads is not None and scale is not None else None


def _scaled_keys(graph: _Graph, name: str) -> tuple[str, str] | None:
    """The keys of all tokens, and the source of their scale."""
    scaled = graph.maker(name, "Mul")
    turned = graph.maker(scaled.input[0], "Transpose") if scaled is not None else None
    scale = _scale(graph, scaled.input[1]) if scaled is not None else None
    if turned is None or scale is None or _perm(turned) != _LAST_TWO:
        return None
    return turned.input[0], scale


def _scale(graph: _Graph, name: str) -> str | None:
    """The input of the square root: query and key are each scaled by the root of 1 / sqrt(head size)."""
    root = graph.maker(name, "Sqrt")
    return root.input[0] if root is not None else None


def _with_past(graph: _Graph, name: str) -> tuple[str, str, NodeProto] | None:
    """The projection of these tokens, the past before them, and the node that concatenates both."""
    joint = graph.maker(name, "Concat")
    if joint is None or len(joint.input) != 2 or not any(a.name == "axis" and a.i in {-2, 2} for a in joint.attribute):  # noqa: PLR2004
        return None
    heads = _split_heads(graph, joint.input[1])
    return (heads[0], joint.input[0], joint) if heads is not None else None


def _split_heads(graph: _Graph, name: str) -> tuple[str, int] | None:
    """The value that is split into heads [batch, tokens, hidden], and the size of one head."""
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
    shaped = [node for node in readers if node.op_type == "Reshape"]  # the other readers compute batch and length
    return shaped[0] if len(shaped) == 1 and all(node.op_type in {"Reshape", "Shape"} for node in readers) else None


def _perm(node: NodeProto) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
