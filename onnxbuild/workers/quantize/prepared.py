"""The form of a graph that quantizers recognize."""

from __future__ import annotations

from onnx import ModelProto

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.graphs.cpu_kernels import part_biased_gelus, part_skip_norms
from onnxbuild.workers.graphs.free_names import free_added_names
from onnxbuild.workers.graphs.half import named
from onnxbuild.workers.graphs.plain_form import inline_functions, store_weights
from onnxbuild.workers.graphs.products import fold_transposed_weights, gemm_to_matmul, squeeze_weights
from onnxbuild.workers.graphs.weights import drop_unused_weights


def prepare(model: ModelProto, params: QuantizeParams) -> dict[str, int]:
    """Bring the graph into the form that quantizers recognize; facts say how many nodes changed."""
    stored = {"functions_inlined": inline_functions(model), "weights_stored": store_weights(model)}
    free_added_names(named(model))  # quantizers list what they leave in float by name
    rewritten = {"gemms_rewritten": gemm_to_matmul(model), "heads_untied": fold_transposed_weights(model)}
    squeeze_weights(model)
    drop_unused_weights(model)
    if params.method not in {
        "weight-only",
        "stored",
    }:  # its graph may go to a browser's GPU, which has no kernel for Sum
        part_biased_gelus(model)
        part_skip_norms(model)
    return rewritten | {name: count for name, count in stored.items() if count}
