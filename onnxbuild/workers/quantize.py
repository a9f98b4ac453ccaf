"""quantize: dynamic int8, or weights of 4 or 8 bits, in every graph of a model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnx import ModelProto

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.steps.kind import CheckFailed, Facts, Tell
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.decoders import graphs_to_change, merge, merged_name
from onnxbuild.workers.folder import carry_along, onnx_names
from onnxbuild.workers.graph import has_external_data, load_graph, load_model, nodes_of, save_model, size_bytes
from onnxbuild.workers.optimize import read_config
from onnxbuild.workers.quantized import left_in_float, quantized_operators
from onnxbuild.workers.quantizers import quantize_dynamic, quantize_weights
from onnxbuild.workers.quiet import quiet
from onnxbuild.workers.rewrites import drop_unused_weights, fold_transposed_weights, gemm_to_matmul
from onnxbuild.workers.session import check_still_runs


def run(params: QuantizeParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Quantize each graph, merge decoders again, carry the rest along, run each result once.

    Facts: by file the quantized operators by type, the nodes left in float with the reason, bytes before and after,
    seconds; `bytes`, `bytes_before`, `quantized`; `ran`: whether every result also ran, rather than only loaded.
    """
    source, destination = inputs["model"], outputs["model"]
    names = graphs_to_change(source)
    check_excluded(params.exclude, {name: load_graph(source / name) for name in names})
    files: dict[str, Any] = {}
    for done, name in enumerate(names):
        progress(f"quantizing {name}", done, len(names))
        files[name] = _quantize(source / name, destination / name, params)
    if (merged := merged_name(source)) is not None:
        progress(f"merging {merged}", len(names), len(names))
        with quiet():
            files[merged] = merge(destination, merged)
    carry_along(source, destination)
    facts = {
        "files": files,
        "quantized": sum(sum(file["quantized"].values()) for file in files.values() if "quantized" in file),
        "bytes_before": sum(size_bytes(source / name) for name in names),
        "bytes": sum(size_bytes(destination / name) for name in names),
    }
    _check_effect(facts)
    progress("running once")
    config = read_config(source)
    ran = [check_still_runs(source / name, destination / name, config) for name in onnx_names(destination)]
    return {**facts, "ran": all(ran)}


def check_excluded(exclude: Iterable[str], graphs: Mapping[str, ModelProto]) -> None:
    """Every excluded name must be a node's: a typo would quantize what must not be. Errors: CheckFailed OBE50."""
    known = {node.name for graph in graphs.values() for node in nodes_of(graph)}
    for name in exclude:
        if name not in known:
            hint = did_you_mean(name, known) or f"names look like `{min(known, default='')}`"
            raise CheckFailed("OBE50", f"`exclude` names `{name}`, and no node is called that", notes=[("hint", hint)])


def _quantize(source: Path, destination: Path, params: QuantizeParams) -> dict[str, Any]:
    started = time.perf_counter()
    external = has_external_data(source)
    model = load_model(source)
    already = quantized_operators(model)
    gemms = gemm_to_matmul(model)
    folded = fold_transposed_weights(model)
    drop_unused_weights(model)
    with TemporaryDirectory(prefix="onnxbuild-quantize-") as scratch, quiet():
        if params.method == "dynamic":
            model = quantize_dynamic(model, Path(scratch), params)
        else:
            model = quantize_weights(model, params)
    drop_unused_weights(model)
    facts = {
        "quantized": _added(quantized_operators(model), already),
        "left_in_float": left_in_float(model, params.exclude),
        "gemms_rewritten": gemms,
        "heads_untied": folded,
    }
    destination.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, destination, external=external)
    return {
        **facts,
        "bytes_before": size_bytes(source),
        "bytes": size_bytes(destination),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _added(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {kind: count - before.get(kind, 0) for kind, count in now.items() if count > before.get(kind, 0)}


def _check_effect(facts: Mapping[str, Any]) -> None:
    idle = [name for name, file in facts["files"].items() if not file.get("quantized", True)]
    if facts["quantized"] == 0:
        reasons = sorted({reason for file in facts["files"].values() for reason in file.get("left_in_float", {})})
        raise CheckFailed(
            "OBE48",
            f"nothing was quantized in {', '.join(idle)}",
            notes=[
                ("found", "; ".join(reasons) or "no MatMul, Gemm, Conv or Gather at all"),
                ("hint", "look at `operators` and `exclude`; a graph that is fp16 or int8 already has nothing left"),
            ],
            facts=facts,
        )
    if facts["bytes"] >= facts["bytes_before"]:
        raise CheckFailed(
            "OBE49",
            f"the quantized model has {facts['bytes']} bytes, the original {facts['bytes_before']}",
            notes=[("hint", "its weights are mostly of a kind that this method leaves alone; try the other method")],
            facts=facts,
        )
