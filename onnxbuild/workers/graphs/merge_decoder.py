"""Merges the two passes of an encoder-decoder's decoder as branches of one If, in the layout of optimum's decoders.

It is implemented here because `optimum.onnx.merge_decoders` needs optimum-onnx, which transformers 5 excludes. The
graph has an additional input `use_cache_branch`. Its cached branch returns an empty placeholder for the encoder's keys
and values, which stay as they were fed. Each weight is stored once, outside of the branches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx import ModelProto, OperatorSetIdProto, TensorProto, ValueInfoProto, helper

from onnxbuild.workers.graphs.nodes import rename_inputs, replace_messages
from onnxbuild.workers.graphs.walk import graphs_of
from onnxbuild.workers.graphs.weights import Content, content_of

_INTEGERS = frozenset({TensorProto.INT32, TensorProto.INT64})


def merge_passes(first: ModelProto, later: ModelProto) -> ModelProto:
    """One model from a decoder's first pass and its pass with a cache. Both are changed.

    Errors: ValueError if their opsets, outputs or functions do not allow it.
    """
    imports = _common_imports(first, later)
    _add_placeholders(first, later)
    inputs = {value.name: value for value in (*first.graph.input, *later.graph.input)}
    weights = _take_weights((first, later), taken=set(inputs))
    outputs = list(first.graph.output)
    branches = {
        name: helper.make_graph(
            model.graph.node, name, [], [_without_shape(value) for value in outputs], model.graph.initializer
        )
        for name, model in (("no_past", first), ("with_past", later))
    }
    choice = helper.make_node(
        "If",
        ["use_cache_branch"],
        [value.name for value in outputs],
        name="use_cache",
        then_branch=branches["with_past"],
        else_branch=branches["no_past"],
    )
    inputs["use_cache_branch"] = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    graph = helper.make_graph([choice], "merged", list(inputs.values()), outputs, weights)
    return helper.make_model(
        graph, opset_imports=imports, ir_version=max(first.ir_version, later.ir_version), producer_name="onnxbuild"
    )


def _common_imports(first: ModelProto, later: ModelProto) -> list[OperatorSetIdProto]:
    if first.functions or later.functions:
        raise ValueError("the parts contain local functions")
    versions: dict[str, int] = {}
    for entry in (*first.opset_import, *later.opset_import):
        if versions.setdefault(entry.domain, entry.version) != entry.version:
            raise ValueError(f"the parts have different opsets of `{entry.domain or 'ai.onnx'}`")
    return [helper.make_opsetid(domain, version) for domain, version in versions.items()]


def _add_placeholders(first: ModelProto, later: ModelProto) -> None:
    """Add to the cached pass, empty, the outputs that only the first has: both branches of an If need the same."""
    present = {value.name for value in later.graph.output}
    if surplus := present - {value.name for value in first.graph.output}:
        raise ValueError(f"the first pass lacks {', '.join(sorted(surplus))}")
    for value in first.graph.output:
        if value.name in present:
            continue
        tensor = value.type.tensor_type
        empty = helper.make_tensor(value.name, tensor.elem_type, _empty_shape(value), [])
        later.graph.node.append(
            helper.make_node("Constant", [], [value.name], f"{value.name}.placeholder", value=empty)
        )


def _empty_shape(value: ValueInfoProto) -> list[int]:
    """A shape without elements: 0 for the first dynamic axis, 1 for the others."""
    sizes = [axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim]
    free = [index for index, axis in enumerate(value.type.tensor_type.shape.dim) if not axis.dim_value]
    if not free:
        raise ValueError(f"no axis of `{value.name}` is dynamic")
    sizes[free[0]] = 0
    return sizes


def _take_weights(models: tuple[ModelProto, ModelProto], taken: set[str]) -> list[TensorProto]:
    """Move the weights out of both models, equal ones once, under names that neither uses; returns them.

    Scalars and short lists of integers (axes, shapes) stay, because ONNX Runtime folds them where they are used.
    """
    taken = taken | {name for model in models for name in _inner_names(model)}
    names: dict[Content, str] = {}
    weights: list[TensorProto] = []
    for model in models:
        renamed: dict[str, str] = {}
        for tensor in model.graph.initializer:
            if _is_small(tensor):
                continue
            content = content_of(tensor)
            if content not in names:
                names[content] = _free_name(tensor.name, taken)
                taken.add(names[content])
                weights.append(TensorProto.FromString(tensor.SerializeToString()))
                weights[-1].name = names[content]
            renamed[tensor.name] = names[content]
        rename_inputs(model, _changes(renamed))
        replace_messages(model.graph.initializer, [t for t in model.graph.initializer if _is_small(t)])
    return weights


def _inner_names(model: ModelProto) -> Iterator[str]:
    """Names that exist inside a branch: outputs of nodes, and the small tensors that stay."""
    for graph in graphs_of(model.graph):
        yield from (name for node in graph.node for name in node.output)
        yield from (tensor.name for tensor in graph.initializer if graph is not model.graph or _is_small(tensor))


def _changes(renamed: Mapping[str, str]) -> dict[str, str]:
    return {old: new for old, new in renamed.items() if old != new}


def _free_name(name: str, taken: set[str]) -> str:
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _is_small(tensor: TensorProto) -> bool:
    return not tensor.dims or (len(tensor.dims) == 1 and tensor.data_type in _INTEGERS)


def _without_shape(value: ValueInfoProto) -> ValueInfoProto:
    return helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None)
