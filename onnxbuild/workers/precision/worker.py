"""precision: converts every graph of a model to fp16 or bf16, except for what has to stay in fp32."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.steps.precision import PrecisionParams
from onnxbuild.workers.calibrate.feeds import Feeds, calibrating, feeds_by_file
from onnxbuild.workers.calibrate.observe import float_tensors, magnitudes
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.folders.model_graphs import has_external_data, size_bytes
from onnxbuild.workers.graphs.angles.angle_paths import keep_angles
from onnxbuild.workers.graphs.free_names import free_added_names
from onnxbuild.workers.graphs.graph_files import load_model, save_model
from onnxbuild.workers.graphs.half import float_nodes, lacks_bfloat16, named, to_half
from onnxbuild.workers.graphs.plain_form import inline_functions, write_constants_as_tensors
from onnxbuild.workers.graphs.walk import has_branches, names_captured, nodes_of, opset_of, tensors_of
from onnxbuild.workers.graphs.weights import drop_unused_weights, weight_bytes
from onnxbuild.workers.inputs.dataset_texts import texts
from onnxbuild.workers.inputs.sample_source import open_source
from onnxbuild.workers.inputs.samples import Sample, probes, shaped, single_texts
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.libraries.remote_code import with_its_code
from onnxbuild.workers.model_folder.counted_steps import CountedSteps
from onnxbuild.workers.model_folder.decoders import graphs_to_change
from onnxbuild.workers.model_folder.each_graph import change_each_graph

_LARGEST = 65504.0  # of fp16
_FEW = 0.1  # of the bytes of all weights


@with_its_code
def run(params: PrecisionParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Convert each graph, and complete the folder as `change_each_graph` does.

    Facts beyond those of `change_each_graph`: by file how many nodes are in half precision, the nodes kept in fp32, the
    largest value of each tensor that overflows, bytes before and after, seconds. bf16 is not run, because the CPU has
    no kernels for it.
    """
    feeds = _feeds(params, inputs) if params.finds_overflow else None
    models = {name: _prepared(inputs["model"] / name) for name in graphs_to_change(inputs["model"])}
    _check_kept(params.kept, models)

    def change(name: str, source: Path, destination: Path, steps: CountedSteps) -> dict[str, Any]:
        read = feeds and steps.reading(feeds(name), f"{name} reads row {{row}}", expected=params.samples)
        steps.expect(1)
        return _convert(models.pop(name), source, destination, params, read, steps)

    return change_each_graph(
        inputs["model"],
        outputs["model"],
        change,
        progress,
        doing=f"converting {{name}} to {params.dtype}",
        runs=params.dtype != "bf16",
    )


def _prepared(path: Path) -> ModelProto:
    model = load_model(path)
    inline_functions(model)
    write_constants_as_tensors(model)
    free_added_names(model)
    return named(model)


def _convert(
    model: ModelProto,
    source: Path,
    destination: Path,
    params: PrecisionParams,
    feeds: Iterable[Feeds] | None,
    steps: CountedSteps,
) -> dict[str, Any]:
    started = time.perf_counter()
    with TemporaryDirectory(prefix="onnxbuild-precision-") as scratch, quiet():
        model, facts = _converted(model, Path(scratch), params, feeds)
    destination.parent.mkdir(parents=True, exist_ok=True)
    cure = _cure(model, params)
    steps.begin(f"writing {destination.name}")
    save_model(model, destination, external=has_external_data(source))
    sizes = {"bytes_before": size_bytes(source), "bytes": size_bytes(destination)}
    if sizes["bytes"] >= sizes["bytes_before"]:
        raise CheckFailed(
            "OBE49",
            f"{destination.name} in {params.dtype} has {sizes['bytes']} bytes, the original {sizes['bytes_before']}",
            notes=[("hint", cure)],
            facts=facts,
        )
    return {**facts, **sizes, "seconds": round(time.perf_counter() - started, 3)}


def _cure(model: ModelProto, params: PrecisionParams) -> str:
    """What helps if a converted model is no smaller, by where its fp32 weights are."""
    inner = {name for node in model.graph.node for name in names_captured(node)}
    sizes = {t.name: weight_bytes(t) for t in tensors_of(model) if t.data_type == TensorProto.FLOAT}
    if sum(sizes.values()) < _FEW * sum(weight_bytes(tensor) for tensor in tensors_of(model)):
        return "it has hardly any fp32 weights: it is in half precision or quantized already, so leave `precision:` out"
    own = {tensor.name for tensor in model.graph.initializer}
    if sum(size for name, size in sizes.items() if name in inner or name not in own) > sum(sizes.values()) / 2:
        return "its weights are read by branches or loops, which stay in fp32: leave `precision:` out"
    if not params.keep_fp32:
        return "most of its weights compute angles, or have no kernel in half precision: leave `precision:` out"
    return "most of its weights belong to nodes that stay in fp32: name fewer in `keep_fp32`"


def _converted(
    model: ModelProto, scratch: Path, params: PrecisionParams, feeds: Iterable[Feeds] | None
) -> tuple[ModelProto, dict[str, Any]]:
    """The model in half precision, and which of its nodes that concerns."""
    with calibrating():
        largest, samples = magnitudes(model, feeds, scratch) if feeds is not None else ({}, 0)
    angles = keep_angles(model)
    kept = {node.name for node in model.graph.node if node.name in angles or _stays(node, params.kept, largest)}
    floats = float_tensors(model, scratch)
    before = float_nodes(model, floats)
    model = to_half(model, params.dtype, kept, keep_io_types=params.keep_io_types, floats=floats, angles=angles)
    drop_unused_weights(model)
    if params.dtype == "bf16":  # no CPU runs it, so that nothing else would notice
        _check_bfloat16(model)
    return model, {
        "half": sum(name not in kept for name in before),
        "kept_fp32": sorted(name for name in before if name in kept),
        "overflow": {name: round(value, 1) for name, value in sorted(largest.items()) if value > _LARGEST},
        "overflow_samples": samples,
    }


def _check_bfloat16(model: ModelProto) -> None:
    operator = lacks_bfloat16(model)
    if operator is not None:
        message = f"{operator} does not take bf16 at opset {opset_of(model)}, which the graph has"
        hint = f"export with a higher `opset:` (22 has bf16 nearly everywhere), or keep it: `keep_fp32: [{operator}]`"
        raise CheckFailed("OBE105", message, notes=[("hint", hint)])


def _stays(node: NodeProto, kept: Collection[str], largest: Mapping[str, float]) -> bool:
    """Whether a node stays in fp32: because the params name it, it overflows, or it has branches."""
    return node.name in kept or node.op_type in kept or _overflows(node, largest) or has_branches(node)


def _overflows(node: NodeProto, largest: Mapping[str, float]) -> bool:
    """Whether a node computes or reads a value that fp16 cannot hold, or would square to one while it normalizes."""
    values = [largest.get(name, 0.0) for name in (*node.input, *node.output)]
    bound = _LARGEST**0.5 if "Normalization" in node.op_type else _LARGEST
    return max(values, default=0.0) > bound


def _check_kept(kept: Iterable[str], models: Mapping[str, ModelProto]) -> None:
    """Every name must be that of an operator or a node: a typo would convert a node that must stay. Errors: OBE50."""
    known = {name for model in models.values() for node in nodes_of(model) for name in (node.name, node.op_type)}
    for name in kept:
        if name not in known:
            hint = did_you_mean(name, known) or "name an operator, such as `LayerNormalization`, or a node of the graph"
            raise CheckFailed(
                "OBE50", f"`keep_fp32` names `{name}`, and no operator or node has this name", notes=[("hint", hint)]
            )


def _feeds(params: PrecisionParams, inputs: Mapping[str, Path]) -> Callable[[str], Iterable[Feeds]]:
    """The feeds of each file while the model reads the dataset, or else the samples of validation."""

    def samples(model: OnnxModel) -> Iterator[Sample]:
        trust = params.trusts_code
        source = open_source(inputs["model"], model, "", seed=params.seed, trusts_code=trust, light=True)
        if PORT in inputs and source.reads_text:
            rows = texts(inputs[PORT], params.rows, samples=params.samples, seed=params.seed)
            yield from single_texts(source, rows, params.sequence)
        else:
            yield from probes(source) or [shaped(source, 1, min(8, source.positions - 1))]

    return feeds_by_file(inputs["model"], samples, threads=usable_cores())
