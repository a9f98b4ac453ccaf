"""quantize: int8 with ranges taken at run time or from data, or weights of 4 or 8 bits, in every graph of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from onnx import ModelProto

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.steps.quantize import QuantizeParams, with_module
from onnxbuild.workers.calibrate.observe import (
    Counted,
    Feeds,
    calibrating,
    clipped_by_entropy,
    clipped_by_percentile,
    feeds_by_file,
    float_tensors,
    histograms,
    ranges,
)
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.engines.smoke_run import check_still_runs
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.folders.model_files import carry_along, copy_file, onnx_names
from onnxbuild.workers.graphs.cpu_kernels import part_biased_gelus, part_skip_norms
from onnxbuild.workers.graphs.onnx_files import (
    external_files,
    has_external_data,
    load_graph,
    load_model,
    nodes_of,
    save_model,
    size_bytes,
)
from onnxbuild.workers.graphs.rewrites import (
    declare_own_operators,
    drop_unused_weights,
    fold_transposed_weights,
    gemm_to_matmul,
)
from onnxbuild.workers.inputs.dataset_texts import texts
from onnxbuild.workers.inputs.samples import Sample, open_source, single_texts
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.libraries.remote_code import with_its_code
from onnxbuild.workers.model_folder.decoders import MERGED, PARTS, graphs_to_change, merge, merged_name
from onnxbuild.workers.quantize.gptq import quantize_gptq
from onnxbuild.workers.quantize.quantized import left_in_float, quantized_operators
from onnxbuild.workers.quantize.quantizers import quantize_dynamic, quantize_static, quantize_weights, without_weight


@with_its_code
def run(params: QuantizeParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Quantize each graph, merge decoders again, carry the rest along, run each result once.

    Facts: by file the quantized operators by type, the nodes left in float with the reason, bytes before and after,
    seconds; `bytes`, `bytes_before`, `quantized`; `ran`: whether every result also ran, rather than only loaded.
    """
    source, destination = inputs["model"], outputs["model"]
    names = graphs_to_change(source)
    by_file = params_by_file(params, onnx_names(source), names)
    check_excluded(params.exclude, {name: load_graph(source / name) for name in names})
    feeds = text_feeds(params, inputs) if any(one.reads_text for one in by_file.values() if one) else None
    files: dict[str, Any] = {}
    for done, name in enumerate(names):
        progress(f"quantizing {name}", done, len(names))
        wanted = by_file[name]
        if wanted is None:
            files[name] = _left_alone(source / name, destination / name)
        else:
            files[name] = _quantize(source / name, destination / name, wanted, feeds and partial(feeds, name))
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


def params_by_file(
    params: QuantizeParams, names: Iterable[str], changed: Iterable[str]
) -> dict[str, QuantizeParams | None]:
    """The params of each file in `changed`, None for one that stays in fp32; the last pattern that fits decides.

    Errors: CheckFailed OBE50 for a pattern that fits no file.
    """
    stems = {name: Path(name).name.removesuffix(".onnx") for name in names}
    for pattern in params.modules:
        if not any(fnmatchcase(stem, pattern) for stem in stems.values()):
            known = ", ".join(f"`{stem}`" for stem in sorted(stems.values()))
            hint = did_you_mean(pattern, stems.values()) or f"the files are {known}"
            raise CheckFailed(
                "OBE50", f"`modules` names `{pattern}`, and no file is called that", notes=[("hint", hint)]
            )
    found: dict[str, QuantizeParams | None] = {}
    for name in changed:
        found[name] = msgspec.structs.replace(params, modules={})
        for pattern, module in params.modules.items():
            # A merged decoder is made of its parts: what is said of it is said of them.
            of_parts = fnmatchcase(Path(MERGED).stem, pattern) and Path(name).name in PARTS
            if fnmatchcase(stems[name], pattern) or of_parts:
                found[name] = None if module == "fp32" else with_module(params, module)
    return found


def text_feeds(params: QuantizeParams, inputs: Mapping[str, Path]) -> Callable[[str], Iterable[Feeds]]:
    """What each file is fed while the model reads the dataset. Errors: CheckFailed OBE59 where it reads no text."""

    def samples(model: OnnxModel) -> Iterator[Sample]:
        source = open_source(inputs["model"], model, "", seed=params.seed, trusts_code=params.trusts_code)
        if not source.reads_text:
            raise CheckFailed(
                "OBE59",
                "the model reads no text: it has no tokenizer, or takes no `input_ids`",
                notes=[("hint", "`method: dynamic` needs no data")],
            )
        rows = texts(inputs[PORT], params.rows, samples=params.samples, seed=params.seed)
        yield from single_texts(source, rows, params.sequence)

    found: Callable[[str], Iterable[Feeds]] = feeds_by_file(inputs["model"], samples, threads=usable_cores())
    return found


def check_excluded(exclude: Iterable[str], graphs: Mapping[str, ModelProto]) -> None:
    """Every excluded name must be a node's: a typo would quantize what must not be. Errors: CheckFailed OBE50."""
    known = {node.name for graph in graphs.values() for node in nodes_of(graph)}
    for name in exclude:
        if name not in known:
            hint = did_you_mean(name, known) or f"names look like `{min(known, default='')}`"
            raise CheckFailed("OBE50", f"`exclude` names `{name}`, and no node is called that", notes=[("hint", hint)])


def _left_alone(source: Path, destination: Path) -> dict[str, Any]:
    """A file that stays as it is."""
    for name in (source.name, *external_files(source)):
        copy_file(source.with_name(name), destination.with_name(name))
    return {"bytes_before": size_bytes(source), "bytes": size_bytes(destination), "left": "fp32"}


def _quantize(
    source: Path, destination: Path, params: QuantizeParams, feeds: Callable[[], Iterable[Feeds]] | None
) -> dict[str, Any]:
    started = time.perf_counter()
    # Both parse the file, whose weights need not be in memory twice: before the model is there, and after it.
    before, external = size_bytes(source), has_external_data(source)
    model = load_model(source)
    already = quantized_operators(model)
    gemms = gemm_to_matmul(model)
    folded = fold_transposed_weights(model)
    drop_unused_weights(model)
    if params.method != "weight-only":  # which may go to a browser's GPU, that has no kernel of Sum
        part_biased_gelus(model)
        part_skip_norms(model)
    measured: dict[str, Any] = {}
    with TemporaryDirectory(prefix="onnxbuild-quantize-") as scratch, quiet():
        if params.method == "dynamic":
            model = quantize_dynamic(model, params)
        elif params.method == "static":
            assert feeds is not None, "BUG: static quantization without data"
            model, measured = _quantize_static(model, Path(scratch), params, feeds)
        elif params.algorithm == "gptq":
            assert feeds is not None, "BUG: GPTQ without data"
            seen = Counted(feeds())
            with calibrating():
                model = quantize_gptq(model, params, seen, Path(scratch))
            measured = {"calibration": {"samples": seen.count}}
        else:
            model = quantize_weights(model, params)
        declare_own_operators(model)
    drop_unused_weights(model)
    facts = {
        "quantized": _added(quantized_operators(model), already),
        "left_in_float": left_in_float(model, params.exclude),
        "gemms_rewritten": gemms,
        "heads_untied": folded,
        **measured,
    }
    destination.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, destination, external=external)
    del model
    return {
        **facts,
        "bytes_before": before,
        "bytes": size_bytes(destination),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _quantize_static(
    model: ModelProto, scratch: Path, params: QuantizeParams, feeds: Callable[[], Iterable[Feeds]]
) -> tuple[ModelProto, dict[str, Any]]:
    """The model with ranges from the data, and how many samples and tensors these were taken of."""
    operators = params.operators or ("MatMul",)
    stored = {tensor.name for tensor in model.graph.initializer}
    excluded = {*params.exclude, *without_weight(model)}
    nodes = [n for n in model.graph.node if n.op_type in operators and n.name not in excluded]
    floats = set(float_tensors(model, scratch)) - stored
    tensors = sorted({name for n in nodes for name in (*n.input, *n.output)} & floats)
    seen, counts = Counted(feeds()), {}
    with calibrating():
        limits = ranges(model, tensors, seen, scratch)
        if not seen.count:
            raise CheckFailed("OBE58", "the dataset gives no text", notes=[("hint", "see its `columns` and `limit`")])
        if params.calibration != "minmax":
            counts = histograms(model, limits, feeds(), scratch)
    if params.calibration != "minmax":
        limits = {
            name: clipped_by_entropy(limits[name], counts[name])
            if params.calibration == "entropy"
            else clipped_by_percentile(limits[name], counts[name], params.percentile)
            for name in limits
        }
    facts = {"calibration": {"method": params.calibration, "samples": seen.count, "tensors": len(limits)}}
    return quantize_static(model, limits, operators, params), facts


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
