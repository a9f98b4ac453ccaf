"""Shape inference: ONNX Runtime's symbolic one with the reductions of opset 18, and onnx's without the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, ValueInfoProto, helper

from onnxbuild.workers.graphs.weights import weight_bytes

# Shapes and axes are computed from small tensors, whose content the inference must see.
_SMALL_BYTES = 1024

_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
_AXES_ARE_AN_INPUT = 18


@contextmanager
def all_reductions() -> Iterator[None]:
    """Infer the shape of every reduction as onnxruntime (1.31) infers that of ReduceSum.

    From opset 18 on the axes of a reduction are an input, whose value onnxruntime reads only for ReduceSum and
    ReduceMean. The norm at the end of every sentence-transformer is a ReduceL2. Without its shape the inference ends
    with a TypeError, which the optimizer swallows, and no SkipLayerNormalization is fused in the whole graph: 99 nodes
    instead of 74 for all-MiniLM-L6-v2.
    """
    from onnxruntime.transformers.shape_infer_helper import SymbolicShapeInferenceHelper

    # The helper is imported under two names and its base under one, so the base is changed.
    owner = SymbolicShapeInferenceHelper.__mro__[1]
    original = owner._infer_impl  # noqa: SLF001 - there is no public interface

    def infer(self: Any, *args: Any, **options: Any) -> Any:
        opset = next((o.version for o in self.out_mp_.opset_import if o.domain in {"", "ai.onnx"}), 0)
        if opset >= _AXES_ARE_AN_INPUT:
            for reduction in _REDUCTIONS:
                self.dispatcher_.setdefault(reduction, self._infer_ReduceSum)
        return original(self, *args, **options)

    owner._infer_impl = infer  # noqa: SLF001
    try:
        yield
    finally:
        owner._infer_impl = original  # noqa: SLF001


def infer_types(model: ModelProto) -> list[ValueInfoProto]:
    """Types and shapes of a model's values as onnx infers them on a copy whose large weights are inputs."""
    whole = model.graph
    large = [t for t in whole.initializer if weight_bytes(t) > _SMALL_BYTES]
    stated = {value.name for value in whole.input}
    graph = GraphProto(name=whole.name, node=whole.node, input=whole.input, output=whole.output)
    graph.initializer.extend(t for t in whole.initializer if weight_bytes(t) <= _SMALL_BYTES)
    graph.value_info.extend(whole.value_info)
    graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in large if t.name not in stated
    )
    bare = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)
    bare.functions.extend(model.functions)
    return list(onnx.shape_inference.infer_shapes(bare).graph.value_info)
