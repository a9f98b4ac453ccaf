"""The check of what O2 fused: counts fused operators, and compares them with the model type's row in `FUSIONS`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from onnx import ModelProto, TensorProto

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.fusions import ATTENTION_OPERATORS, FUSED_OPERATORS, FUSIONS
from onnxbuild.workers.graphs.graph_files import load_graph
from onnxbuild.workers.graphs.walk import nodes_of, tensors_of

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "MatMulNBits")
_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)

Counts = Mapping[str, Mapping[str, int]]  # file → fused operator → how many


def count_fused(model: ModelProto) -> dict[str, int]:
    """How many operators of each type that a fusion makes, in any domain.

    ONNX Runtime puts SimplifiedLayerNormalization into the standard's domain, which has no such operator; and what an
    exporter wrote as one operator of the standard (Attention and RMSNormalization from opset 23 on) needs no fusion.
    """
    fused = (node.op_type for node in nodes_of(model) if node.op_type in FUSED_OPERATORS)
    return dict(sorted(Counter(fused).items()))


def check_fused(model_type: str, level: str, by_file: Counts, folder: Path) -> None:
    """Check that each file has a fusion of its model type; `folder` has the graphs before.

    Errors: CheckFailed OBE24.
    """
    expected = _expected(model_type, level)
    for name, counts in by_file.items():
        if expected and not any(operator in counts for operator in expected):
            raise CheckFailed(
                "OBE24",
                f"{level} fused nothing that it should have in {name}",
                notes=[
                    ("expected", f"for {model_type} one of {', '.join(expected)}"),
                    ("found", ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "none"),
                    ("hint", _cure(load_graph(folder / name), model_type)),
                ],
                facts={"fused": {file: dict(fused) for file, fused in by_file.items()}},
            )


def _cure(model: ModelProto, model_type: str) -> str:
    """What helps if nothing was fused in a graph, by what kept the fusions from it."""
    if any(node.op_type in _QUANTIZED for node in nodes_of(model)):
        return "the graph is quantized already, and no fusion matches it: optimize first, then quantize"
    if any(tensor.data_type in _HALF for tensor in tensors_of(model)):
        return "the graph is in half precision already, and few fusions match it: optimize first, then `precision:`"
    return (
        f"use `optimize: O1`, which matches no forms; what fuses in {model_type} was measured on its export by"
        " `export: {exporter: optimum, opset: 18}`, and this graph has another form"
    )


def warnings_of(model_type: str, level: str, by_file: Counts) -> list[str]:
    """For each file, what usually fuses in the model type and did not fuse here."""
    return [
        f"{what} did not fuse in {name}: none of {', '.join(operators)}, which {model_type} has after {level}"
        for name, counts in by_file.items()
        for what, operators in _usual(model_type, level)
        if not any(operator in counts for operator in operators)
    ]


def _expected(model_type: str, level: str) -> tuple[str, ...]:
    fusion = FUSIONS.get(model_type)
    return fusion.expected if fusion is not None and level != "O1" else ()


def _usual(model_type: str, level: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What usually fuses in a model type, each with the operators that show it."""
    expected = _expected(model_type, level)
    if expected:
        yield "LayerNorm", tuple(operator for operator in expected if operator not in ATTENTION_OPERATORS)
        if FUSIONS[model_type].attention:
            yield "attention", ATTENTION_OPERATORS
