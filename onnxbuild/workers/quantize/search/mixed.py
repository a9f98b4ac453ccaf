"""One graph with each node in one of three forms: int8, 8-bit weights in blocks, or fp32."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

from msgspec.structs import replace
from onnx import ModelProto, NodeProto, TensorProto

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.graphs.nodes import declare_own_operators
from onnxbuild.workers.graphs.weights import drop_unused_weights
from onnxbuild.workers.quantize.quantizers import quantize_dynamic, quantize_weights

Form = Literal["int8", "q8", "fp32"]
Value = TypeVar("Value")
Plan = Mapping[str, Form]  # the form of each node by name; int8 where none is given

# Time of a multiplication in each form, relative to int8: the products of MiniLM at 1×128 on one core of an AMD EPYC
# with VNNI, ONNX Runtime 1.31, gave 2.7 to 2.8 and 3.4 to 5. A table in place of a measurement, so that the choice is
# the same on every machine.
_TIME: Mapping[Form, float] = {"int8": 1.0, "q8": 2.8, "fp32": 4.0}
# Looking a row up takes no time worth counting, but a table of words in fp32 is most of a small model's bytes: it is
# taken back only where products would have to give up more.
_TABLE_TIME = 0.02
_BYTES: Mapping[Form, float] = {"int8": 1.0, "q8": 1.25, "fp32": 4.0}

_MATRIX = 2  # axes
_WEIGHT = {"MatMul": 1, "Attention": 1, "Conv": 1, "Gather": 0}


class Part(NamedTuple):
    """A node that can be quantized: its operator, and the numbers in its weight, which it multiplies once per row."""

    name: str
    operator: str
    size: int
    forms: tuple[Form, ...]  # those that it has, cheapest first
    twins: tuple[str, ...] = ()  # nodes with the same weight in other graphs of the model, which get the same form

    def cost(self, form: Form, *, minimize: str) -> float:
        """What the node costs in this form."""
        if minimize == "size":
            return self.size * _BYTES[form]
        return self.size * (_TABLE_TIME * _BYTES[form] if self.operator == "Gather" else _TIME[form])


def parts_of(model: ModelProto, params: QuantizeParams) -> list[Part]:
    """The nodes of the main graph with a stored fp32 weight, without the excluded ones."""
    weights = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    parts: list[Part] = []
    for node in model.graph.node:
        if node.op_type not in _WEIGHT or node.name in params.exclude or weight_of(node) not in weights:
            continue
        if params.operators and node.op_type not in params.operators:
            continue
        dims = weights[weight_of(node)].dims
        in_blocks = node.op_type == "MatMul" and len(dims) == _MATRIX
        forms: tuple[Form, ...] = ("int8", "q8", "fp32") if in_blocks else ("int8", "fp32")
        parts.append(Part(node.name, node.op_type, math.prod(dims), forms))
    return parts


def weight_of(node: NodeProto) -> str:
    """The name of the weight of a node that can be quantized."""
    return str(node.input[_WEIGHT[node.op_type]])


def spread(of_parts: Mapping[str, Value], parts: Sequence[Part]) -> dict[str, Value]:
    """What is known by node, such as a plan, for the twins of the nodes too."""
    return {name: of_parts[part.name] for part in parts if part.name in of_parts for name in (part.name, *part.twins)}


def cost_of(parts: list[Part], plan: Plan, *, minimize: str) -> float:
    """What all nodes cost together, relative to all of them in int8."""
    total = sum(part.cost(plan.get(part.name, "int8"), minimize=minimize) for part in parts)
    least = sum(part.cost("int8", minimize=minimize) for part in parts)
    return total / least if least else 1.0


def mixed(model: ModelProto, plan: Plan, params: QuantizeParams) -> ModelProto:
    """A copy of the model with each node in the form of the plan."""
    copy = ModelProto()
    copy.CopyFrom(model)
    blocked = {name for name, form in plan.items() if form == "q8"}
    if blocked:
        others = tuple(node.name for node in model.graph.node if node.name not in blocked)
        copy = quantize_weights(copy, replace(params, method="weight-only", bits=8, exclude=others))
    whole = tuple(name for name, form in plan.items() if form == "fp32")
    copy = quantize_dynamic(copy, replace(params, exclude=(*params.exclude, *whole)))
    declare_own_operators(copy)
    drop_unused_weights(copy)
    return copy
