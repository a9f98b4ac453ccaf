"""quantize: int8 with ranges taken at run time or from data, or weights of 4 or 8 bits, in every graph of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnx import ModelProto

from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.steps.quantize import CHECKPOINT, QuantizeParams
from onnxbuild.workers.calibrate.feeds import Counted, Feeds, calibrating, feeds_by_file
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.folders.model_files import copy_model_file, onnx_names
from onnxbuild.workers.folders.model_graphs import copy_data, has_external_data, size_bytes
from onnxbuild.workers.graphs.cpu_kernels import part_biased_gelus, part_skip_norms
from onnxbuild.workers.graphs.free_names import free_added_names
from onnxbuild.workers.graphs.graph_files import load_graph, load_model, save_model
from onnxbuild.workers.graphs.half import named
from onnxbuild.workers.graphs.nodes import declare_own_operators
from onnxbuild.workers.graphs.plain_form import inline_functions, store_weights
from onnxbuild.workers.graphs.products import fold_transposed_weights, gemm_to_matmul, squeeze_weights
from onnxbuild.workers.graphs.weights import drop_unused_weights
from onnxbuild.workers.inputs.dataset_texts import texts
from onnxbuild.workers.inputs.sample_source import open_source
from onnxbuild.workers.inputs.samples import Sample, single_texts
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.libraries.remote_code import with_its_code
from onnxbuild.workers.model_folder.decoders import graphs_to_change
from onnxbuild.workers.model_folder.each_graph import change_each_graph
from onnxbuild.workers.quantize.effect import check_effect, count_quantized
from onnxbuild.workers.quantize.file_params import check_excluded, params_by_file
from onnxbuild.workers.quantize.gptq import quantize_gptq
from onnxbuild.workers.quantize.quantized import left_in_float, quantized_operators
from onnxbuild.workers.quantize.quantizers import quantize_dynamic, quantize_weights
from onnxbuild.workers.quantize.static_ranges import quantize_with_ranges
from onnxbuild.workers.quantize.stored import put_stored, warnings_of


@with_its_code
def run(params: QuantizeParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Quantize each graph, and complete the folder as `change_each_graph` does.

    Facts beyond those of `change_each_graph`: by file the quantized operators by type, the nodes left in float with the
    reason, bytes before and after, seconds; `quantized`: how many operators of all files.
    """
    source = inputs["model"]
    names = graphs_to_change(source)
    by_file = params_by_file(params, onnx_names(source), names)
    check_excluded(params.exclude, {name: load_graph(source / name) for name in names})
    feeds = text_feeds(params, inputs) if any(one.reads_text for one in by_file.values() if one) else None

    def change(name: str, before: Path, after: Path) -> dict[str, Any]:
        of_file = by_file[name]
        if of_file is None:
            return _leave(before, after)
        return _quantize(before, after, of_file, feeds and partial(feeds, name), inputs.get(CHECKPOINT))

    facts = change_each_graph(
        source,
        outputs["model"],
        change,
        progress,
        doing="quantizing {name}",
        check=lambda facts: check_effect(facts, params),
    )
    warnings = warnings_of(facts)
    return {**facts, "quantized": count_quantized(facts), **({"warnings": warnings} if warnings else {})}


def text_feeds(params: QuantizeParams, inputs: Mapping[str, Path]) -> Callable[[str], Iterable[Feeds]]:
    """The feeds of each file while the model reads the dataset. Errors: CheckFailed OBE59 if it reads no text."""

    def samples(model: OnnxModel) -> Iterator[Sample]:
        trust = params.trusts_code
        source = open_source(inputs["model"], model, "", seed=params.seed, trusts_code=trust, light=True)
        if not source.reads_text:
            raise CheckFailed(
                "OBE59",
                "the model reads no text: it has no tokenizer, or takes no `input_ids`",
                notes=[("hint", "`quantize: {method: dynamic}` needs no data")],
            )
        rows = texts(inputs[PORT], params.rows, samples=params.samples, seed=params.seed)
        yield from single_texts(source, rows, params.sequence)

    return feeds_by_file(inputs["model"], samples, threads=usable_cores())


def _leave(source: Path, destination: Path) -> dict[str, Any]:
    """Copy a file that stays as it is."""
    copy_model_file(source, destination)
    copy_data(source, destination)
    return {"bytes_before": size_bytes(source), "bytes": size_bytes(destination), "left": "fp32"}


def _quantize(
    source: Path,
    destination: Path,
    params: QuantizeParams,
    feeds: Callable[[], Iterable[Feeds]] | None,
    checkpoint: Path | None,
) -> dict[str, Any]:
    started = time.perf_counter()
    # The file is parsed before the model is loaded and after it is freed, so that its weights are in memory once.
    before, external = size_bytes(source), has_external_data(source)
    model, facts = _quantized(source, params, feeds, checkpoint)
    destination.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, destination, external=external)
    del model
    sizes = {"bytes_before": before, "bytes": size_bytes(destination)}
    return {**facts, **sizes, "seconds": round(time.perf_counter() - started, 3)}


def _quantized(
    source: Path, params: QuantizeParams, feeds: Callable[[], Iterable[Feeds]] | None, checkpoint: Path | None
) -> tuple[ModelProto, dict[str, Any]]:
    """The quantized model, and what was quantized in it."""
    model = load_model(source)
    already = quantized_operators(model)
    rewritten = _prepare(model, params)
    with TemporaryDirectory(prefix="onnxbuild-quantize-") as scratch, quiet():
        if checkpoint is not None:
            model, calibration = put_stored(model, params, checkpoint)
        else:
            model, calibration = _by_method(model, params, feeds, Path(scratch))
        declare_own_operators(model)
    drop_unused_weights(model)
    counts = {"quantized": _added(quantized_operators(model), already)}
    return model, {**counts, "left_in_float": left_in_float(model, params.exclude), **rewritten, **calibration}


def _prepare(model: ModelProto, params: QuantizeParams) -> dict[str, int]:
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


def _by_method(
    model: ModelProto, params: QuantizeParams, feeds: Callable[[], Iterable[Feeds]] | None, scratch: Path
) -> tuple[ModelProto, dict[str, Any]]:
    if params.method == "dynamic":
        return quantize_dynamic(model, params), {}
    if params.method == "static":
        assert feeds is not None, "BUG: static quantization without data"
        return quantize_with_ranges(model, scratch, params, feeds)
    if params.algorithm != "gptq":
        return quantize_weights(model, params), {}
    assert feeds is not None, "BUG: GPTQ without data"
    counted = Counted(feeds())
    with calibrating():
        model = quantize_gptq(model, params, counted, scratch)
    return model, {"calibration": {"samples": counted.count}}


def _added(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {kind: count - before.get(kind, 0) for kind, count in now.items() if count > before.get(kind, 0)}
