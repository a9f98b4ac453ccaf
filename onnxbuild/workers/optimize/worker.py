"""optimize: every graph of a model through ONNX Runtime's optimizer, at one of optimum's levels."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnx import ModelProto

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.optimize import OptimizeParams
from onnxbuild.tables.fusions import FUSIONS
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.folders.model_files import copy_model_file
from onnxbuild.workers.folders.model_graphs import copy_data, has_external_data, outline_of, size_bytes
from onnxbuild.workers.graphs.angles.angle_paths import keep_angles
from onnxbuild.workers.graphs.cpu_kernels import part_skip_norms
from onnxbuild.workers.graphs.graph_files import EXTERNAL_FROM_BYTES, load_graph, save_model
from onnxbuild.workers.graphs.shapes import all_reductions
from onnxbuild.workers.graphs.walk import count_operators
from onnxbuild.workers.graphs.weightless import can_leave_weights, change_graph
from onnxbuild.workers.graphs.weights import share_equal_weights, tie_transposed_weights
from onnxbuild.workers.libraries.absent_torch import torch_stand_in
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.model_folder.counted_steps import CountedSteps
from onnxbuild.workers.model_folder.each_graph import change_each_graph
from onnxbuild.workers.optimize.attention import fuse_attention_with_past
from onnxbuild.workers.optimize.completions import complete
from onnxbuild.workers.optimize.fused import check_fused, count_fused, warnings_of
from onnxbuild.workers.optimize.fusion_settings import LEVELS, Sizes, fusion_options, sizes_of


def run(params: OptimizeParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Optimize each graph, and complete the folder as `change_each_graph` does.

    Facts beyond those of `change_each_graph`: by file nodes and bytes before and after, fused operators by type,
    normalizations split from a fusion that is slower on a CPU (`skip_norms_parted`), at O4 the nodes that compute
    angles and stay in fp32 (`kept_fp32`), seconds; `warnings`: what fuses in the model type and did not fuse here.
    """
    config = read_config(inputs["model"])
    model_type = str(config.get("model_type"))

    def change(name: str, source: Path, destination: Path, steps: CountedSteps) -> dict[str, Any]:
        steps.expect(2)
        return _optimize(source, destination, config, params, lambda doing: steps.begin(f"{doing} {name}"))

    def check(facts: Mapping[str, Any]) -> None:
        check_fused(model_type, params.level, _fused_by_file(facts), inputs["model"])

    facts = change_each_graph(inputs["model"], outputs["model"], change, progress, doing="reading {name}", check=check)
    return {**facts, "warnings": warnings_of(model_type, params.level, _fused_by_file(facts))}


def _fused_by_file(facts: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {name: file["fused"] for name, file in facts["files"].items() if "fused" in file}


def _optimize(
    source: Path, destination: Path, config: Mapping[str, Any], params: OptimizeParams, begin: Callable[[str], None]
) -> dict[str, Any]:
    """Write the optimized graph and return its facts; `begin` is told what begins, in a word."""
    started = time.perf_counter()
    before = load_graph(source)
    destination.parent.mkdir(parents=True, exist_ok=True)
    begin("optimizing")
    with TemporaryDirectory(prefix="onnxbuild-optimize-") as scratch, quiet():
        model, facts = _optimized_file(source, destination, Path(scratch), config, params, begin)
    return {
        "nodes_before": sum(count_operators(before).values()),
        "nodes": sum(count_operators(model).values()),
        **facts,
        "bytes_before": size_bytes(source),
        "bytes": size_bytes(destination),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _optimized_file(
    source: Path,
    destination: Path,
    scratch: Path,
    config: Mapping[str, Any],
    params: OptimizeParams,
    begin: Callable[[str], None],
) -> tuple[ModelProto, dict[str, Any]]:
    """Write the optimized graph, and return it with its facts; its weights stay in their file where possible."""
    facts: dict[str, Any] = {"shared_bytes": 0, "weights_left_in_place": _leaves_weights(source, params)}

    def change(path: Path) -> ModelProto:
        changed, angles = _optimized(path, scratch, config, params)
        if LEVELS[params.level].halves:
            facts["kept_fp32"] = sorted(angles)
        facts["fused"] = count_fused(changed)
        facts["skip_norms_parted"] = part_skip_norms(changed) if params.device == "cpu" else 0
        begin("writing")
        return changed

    if facts["weights_left_in_place"]:
        return change_graph(source, destination, scratch, change), facts
    model = change(_loadable(source, scratch))
    facts["shared_bytes"] = share_equal_weights(model) + tie_transposed_weights(model)
    save_model(model, destination, external=has_external_data(source))
    return model, facts


def _leaves_weights(source: Path, params: OptimizeParams) -> bool:
    """Whether only the graph is changed: always at O1, and at O2 and O3 where the weights are too large.

    The fusion of attention packs three weights into one. From 2 GB on it is left out, because one protobuf message
    cannot hold the result.
    """
    only_graph = params.level == "O1" or (params.level != "O4" and size_bytes(source) >= EXTERNAL_FROM_BYTES)
    return only_graph and can_leave_weights(source)


def _loadable(source: Path, scratch: Path) -> Path:
    """A path from which onnx loads the model; onnx rejects external data in hard links, so that is copied first."""
    if not has_external_data(source):
        return source
    copy_model_file(source, scratch / source.name)
    copy_data(source, scratch / source.name)
    return scratch / source.name


def _prepared(path: Path, scratch: Path, config: Mapping[str, Any], *, fuses: bool) -> Path:
    """The graph in the form that the optimizer reads: it folds no weight that is an input, too.

    Where it `fuses`, attention is fused by our own rewrite where the fusions have none.
    """
    stated = outline_of(path).stated
    model = load_graph(path) if fuses or stated else None
    if model is None or not (bool(stated) + (complete(model) + _fuse_attention(model, config) if fuses else 0)):
        return path
    rewritten = scratch / f"prepared-{path.name}"
    rewritten.write_bytes(model.SerializeToString())  # its external weights, if any, are in the folder of both
    return rewritten


def _fuse_attention(model: ModelProto, config: Mapping[str, Any]) -> int:
    fusion = FUSIONS.get(str(config.get("model_type")))
    if fusion is None or fusion.attention != "rewritten":
        return 0
    # The operator cannot divide the scores of a head by the number of its layer.
    if config.get("scale_attn_by_inverse_layer_idx") or not config.get("scale_attn_weights", True):
        return 0
    return fuse_attention_with_past(model, int(config.get("n_head") or 0), int(config.get("n_embd") or 0))


def _optimized(
    path: Path, scratch: Path, config: Mapping[str, Any], params: OptimizeParams
) -> tuple[ModelProto, set[str]]:
    """The optimized graph, and the names of the nodes that a conversion to fp16 left in fp32."""
    from onnxruntime.transformers.optimizer import optimize_model

    level = LEVELS[params.level]
    sizes = sizes_of(config, params.level) if level.fuses else Sizes("bert", 0, 0)
    with all_reductions(), torch_stand_in():
        optimizer = optimize_model(
            str(_prepared(path, scratch, config, fuses=level.fuses)),
            sizes.family,
            sizes.heads,
            sizes.hidden,
            opt_level=level.runtime,
            optimization_options=fusion_options(sizes.family, level),
            # With a GPU, ONNX Runtime would leave its copies between devices in the graph, where no fusion matches
            # them; and the result would depend on the machine that builds.
            use_gpu=False,
            only_onnxruntime=not level.fuses,
        )
    angles = keep_angles(optimizer.model) if level.halves else set[str]()
    if level.halves:
        optimizer.convert_float_to_float16(
            use_symbolic_shape_infer=True, keep_io_types=True, node_block_list=sorted(angles)
        )
        optimizer.topological_sort()  # otherwise the casts of inputs come last
    return optimizer.model, angles
