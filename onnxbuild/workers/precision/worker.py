"""precision: fp16 or bf16 in every graph of a model, but for what has to stay in fp32."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnx import ModelProto, NodeProto

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.steps.precision import PrecisionParams
from onnxbuild.workers.calibrate.observe import Feeds, calibrating, feeds_by_file, float_tensors, magnitudes
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.engines.smoke_run import check_still_runs
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.folders.model_files import carry_along, onnx_names
from onnxbuild.workers.graphs.half import float_nodes, named, to_half
from onnxbuild.workers.graphs.onnx_files import (
    external_files,
    has_branches,
    load_model,
    nodes_of,
    save_model,
    size_bytes,
)
from onnxbuild.workers.graphs.rewrites import drop_unused_weights
from onnxbuild.workers.inputs.dataset_texts import texts
from onnxbuild.workers.inputs.samples import Sample, open_source, probes, shaped, single_texts
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.libraries.remote_code import with_its_code
from onnxbuild.workers.model_folder.decoders import graphs_to_change, merge, merged_name

_LARGEST = 65504.0  # of fp16


@with_its_code
def run(params: PrecisionParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Convert each graph, merge decoders again, carry the rest along, run each result once.

    Facts: by file the nodes in half precision and those kept in fp32, with the largest value of each that overflows,
    bytes before and after; `bytes`, `bytes_before`; `ran`: whether every result also ran. bf16 is not run, for the CPU
    has no kernels for it.
    """
    source, destination = inputs["model"], outputs["model"]
    names = graphs_to_change(source)
    feeds = _feeds(params, inputs) if params.finds_overflow else None
    files: dict[str, Any] = {}
    models = {name: named(load_model(source / name)) for name in names}
    _check_kept(params.kept, models)
    for done, name in enumerate(names):
        progress(f"converting {name} to {params.dtype}", done, len(names))
        files[name] = _convert(models.pop(name), source / name, destination / name, params, feeds and feeds(name))
    if (merged := merged_name(source)) is not None:
        progress(f"merging {merged}", len(names), len(names))
        with quiet():
            files[merged] = merge(destination, merged)
    carry_along(source, destination)
    if params.dtype == "bf16":
        ran = [False]
    else:
        progress("running once")
        config = read_config(source)
        ran = [check_still_runs(source / name, destination / name, config) for name in onnx_names(destination)]
    return {
        "files": files,
        "ran": all(ran),
        "bytes_before": sum(size_bytes(source / name) for name in names),
        "bytes": sum(size_bytes(destination / name) for name in names),
    }


def _convert(
    model: ModelProto, source: Path, destination: Path, params: PrecisionParams, feeds: Iterable[Feeds] | None
) -> dict[str, Any]:
    started = time.perf_counter()
    with TemporaryDirectory(prefix="onnxbuild-precision-") as scratch, quiet():
        with calibrating():
            largest, samples = magnitudes(model, feeds, Path(scratch)) if feeds is not None else ({}, 0)
        asked = (node.name for node in model.graph.node if {node.name, node.op_type} & {*params.kept})
        kept = {*asked, *(n.name for n in model.graph.node if _overflows(n, largest) or has_branches(n))}
        floats = float_tensors(model, Path(scratch))
        before = float_nodes(model, floats)
        model = to_half(model, params.dtype, kept, keep_io_types=params.keep_io_types, floats=floats)
        drop_unused_weights(model)
    in_half = len(before) - len([name for name in before if name in kept])
    facts = {
        "half": in_half,
        "kept_fp32": sorted(name for name in before if name in kept),
        "overflow": {name: round(value, 1) for name, value in sorted(largest.items()) if value > _LARGEST},
        "overflow_samples": samples,
    }
    destination.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, destination, external=bool(external_files(source)))
    sizes = {"bytes_before": size_bytes(source), "bytes": size_bytes(destination)}
    if sizes["bytes"] >= sizes["bytes_before"]:
        raise CheckFailed(
            "OBE49",
            f"{destination.name} in {params.dtype} has {sizes['bytes']} bytes, the original {sizes['bytes_before']}",
            notes=[
                ("hint", "nothing of weight was fp32: it is in half precision already, or `keep_fp32` keeps it all")
            ],
            facts=facts,
        )
    return {**facts, **sizes, "seconds": round(time.perf_counter() - started, 3)}


def _overflows(node: NodeProto, largest: Mapping[str, float]) -> bool:
    """Whether a node makes or reads what fp16 cannot hold, or squares it while it normalizes."""
    values = [largest.get(name, 0.0) for name in (*node.input, *node.output)]
    bound = _LARGEST**0.5 if "Normalization" in node.op_type else _LARGEST
    return max(values, default=0.0) > bound


def _check_kept(kept: Iterable[str], models: Mapping[str, ModelProto]) -> None:
    """Every name must be that of an operator or a node: a typo would convert what must not be. Errors: OBE50."""
    known = {name for model in models.values() for node in nodes_of(model) for name in (node.name, node.op_type)}
    for name in kept:
        if name not in known:
            hint = did_you_mean(name, known) or "name an operator, such as `LayerNormalization`, or a node of the graph"
            message = f"`keep_fp32` names `{name}`, and no operator or node is called that"
            raise CheckFailed("OBE50", message, notes=[("hint", hint)])


def _feeds(params: PrecisionParams, inputs: Mapping[str, Path]) -> Callable[[str], Iterable[Feeds]]:
    """What each file is fed while the model reads the dataset, or what validation would give it."""

    def samples(model: OnnxModel) -> Iterator[Sample]:
        source = open_source(inputs["model"], model, "", seed=params.seed, trusts_code=params.trusts_code)
        if PORT in inputs and source.reads_text:
            rows = texts(inputs[PORT], params.rows, samples=params.samples, seed=params.seed)
            yield from single_texts(source, rows, params.sequence)
        else:
            yield from probes(source) or [shaped(source, 1, 8)]

    found: Callable[[str], Iterable[Feeds]] = feeds_by_file(inputs["model"], samples, threads=usable_cores())
    return found
