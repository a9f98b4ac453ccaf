"""Products of int8 whose activation has a range for each row in place of one for the whole tensor.

A kernel of dynamic int8 takes one range for all rows that it reads. So each row is divided by its largest magnitude
before the product and the result is multiplied by it afterwards, which changes nothing but what is rounded. With such
rows, smoothing moves less into the weights, which then lose less too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.calibrate.feeds import Feeds
from onnxbuild.workers.graphs.nodes import replace_nodes
from onnxbuild.workers.graphs.walk import opset_of
from onnxbuild.workers.quantize.quantizers import PRESETS
from onnxbuild.workers.quantize.smoothing.activations import Activation, observe
from onnxbuild.workers.quantize.smoothing.folding import put_scales
from onnxbuild.workers.quantize.smoothing.groups import Group, groups_in
from onnxbuild.workers.quantize.smoothing.scales import STRENGTHS, Choice, choose

_STRENGTHS = (0.3, 0.35, 0.4, 0.45, *STRENGTHS)
_LEAST = 1e-30  # of a row: a row of zeros is divided by this
_AXES_AS_INPUT = 18  # the opset from which on ReduceMax takes its axes as an input

# Time per number of an activation and of a result, in multiplications of int8: three nodes read and write the
# activation, two the result, and each takes 0.16 ns per number where a multiplication takes 0.0057 ns (MiniLM at
# 1×128 on one core of an AMD EPYC, Zen 4, ONNX Runtime 1.31).
_PER_INPUT, _PER_OUTPUT = 84, 56


class Candidate(NamedTuple):
    """A group of products with the scales for one range and for ranges by row, and what the latter cost."""

    group: Group
    plain: Choice
    by_row: Choice
    cost: float

    @property
    def left(self) -> float:
        """The part of the squared error that is left."""
        return self.by_row.error / self.plain.error if self.plain.error else 1.0


class ByRow(NamedTuple):
    """A graph before it is smoothed, and the groups of products in it that can have ranges by row, by name."""

    model: ModelProto
    candidates: Mapping[str, Candidate]
    others: tuple[tuple[Group, Choice], ...]
    per_channel: bool

    def made(self, names: Collection[str]) -> ModelProto:
        """A smoothed copy of the graph whose named groups have ranges by row."""
        copy = ModelProto()
        copy.CopyFrom(self.model)
        choices = [(one.group, one.by_row if name in names else one.plain) for name, one in self.candidates.items()]
        for group, choice in (*choices, *self.others):
            if choice.strength is not None:
                put_scales(copy, group, choice.scales, per_channel=self.per_channel)
        for name in sorted(names):
            divide_rows(copy, self.candidates[name].group)
        return copy

    def cost(self, names: Iterable[str]) -> float:
        """What the ranges of these groups cost, in multiplications of int8."""
        return sum(self.candidates[name].cost for name in names)

    def order(self, losses: Mapping[str, float]) -> list[str]:
        """The groups, those first that save most of the loss for what they cost."""

        def gain(name: str) -> float:
            one = self.candidates[name]
            return sum(losses.get(p.name, 0.0) for p in one.group.products) * (1 - one.left) / one.cost

        return sorted((name for name in self.candidates if gain(name) > 0), key=lambda name: (-gain(name), name))

    def left(self, losses: Mapping[str, float], names: Collection[str]) -> dict[str, float]:
        """The losses of all nodes when these groups have ranges by row."""
        parts = {p.name: self.candidates[name].left for name in names for p in self.candidates[name].group.products}
        return {node: loss * parts.get(node, 1.0) for node, loss in losses.items()}


def by_row(model: ModelProto, params: QuantizeParams, feeds: Callable[[], Iterable[Feeds]], scratch: Path) -> ByRow:
    """The choices for each group of a graph that is not smoothed yet. `model` is kept."""
    groups, _ = groups_in(model, params)
    activations = observe(model, sorted({name for group in groups for name in group.activations}), feeds(), scratch)
    weights = {t.name: t for t in model.graph.initializer}
    seen = [group for group in groups if _is_seen(group, activations)]
    signed = PRESETS[params.preset].signed_weights
    kinds = {node.name: node.op_type for node in model.graph.node}
    candidates: dict[str, Candidate] = {}
    others: list[tuple[Group, Choice]] = []
    for group in seen:
        stored = {name: numpy_helper.to_array(weights[name]) for name in group.weights}
        plain = choose(group, activations, stored, STRENGTHS, signed=signed)
        if any(kinds.get(product.name) != "MatMul" for product in group.products):
            others.append((group, plain))  # the result of a fused attention is no product
            continue
        rows = choose(group, activations, stored, _STRENGTHS, signed=signed, by_row=True)
        candidates[group.name] = Candidate(group, plain, rows, _cost(group, stored))
    return ByRow(model, candidates, tuple(others), params.per_channel)


def _is_seen(group: Group, activations: Mapping[str, Activation]) -> bool:
    return all(name in activations and np.isfinite(activations[name].largest).all() for name in group.activations)


def _cost(group: Group, weights: Mapping[str, np.ndarray]) -> float:
    channels = len(weights[group.weights[0]])
    outputs = sum(weights[product.weight].shape[1] for product in group.products)
    return float(_PER_INPUT * channels * len(group.activations) + _PER_OUTPUT * outputs)


def divide_rows(model: ModelProto, group: Group) -> None:
    """Divide each row that the products of a group read by its largest magnitude, and multiply their results by it."""
    names = {product.name for product in group.products}
    divided: dict[str, tuple[str, str]] = {}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.name not in names:
            nodes.append(node)
            continue
        source = node.input[0]
        if source not in divided:
            added = _divisions(model, source)
            nodes += added
            divided[source] = (added[-1].output[0], added[-1].input[1])
        node.input[0], largest = divided[source]
        result = node.output[0]
        node.output[0] = f"{result}_of_shares"
        nodes += [node, helper.make_node("Mul", [node.output[0], largest], [result], name=f"{result}_of_rows")]
    replace_nodes(model.graph, nodes)


def _divisions(model: ModelProto, source: str) -> list[NodeProto]:
    """The nodes that compute the shares of a row; the last one divides by the largest magnitude."""
    name = f"{source}_by_row"
    least = numpy_helper.from_array(np.array(_LEAST, np.float32), f"{name}_least")
    model.graph.initializer.append(least)
    axes: dict[str, list[int]] = {"axes": [-1]}
    inputs = [f"{name}_magnitude"]
    if opset_of(model) >= _AXES_AS_INPUT:
        model.graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), f"{name}_axes"))
        inputs, axes = [*inputs, f"{name}_axes"], {}
    return [
        helper.make_node("Abs", [source], [f"{name}_magnitude"], name=f"{name}_magnitude"),
        helper.make_node("ReduceMax", inputs, [f"{name}_most"], name=f"{name}_most", keepdims=1, **axes),
        helper.make_node("Max", [f"{name}_most", least.name], [f"{name}_largest"], name=f"{name}_largest"),
        helper.make_node("Div", [source, f"{name}_largest"], [name], name=name),
    ]
