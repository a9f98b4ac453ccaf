"""optimize: every graph of a model through ONNX Runtime's optimizer, at one of optimum's levels."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnx import ModelProto

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.optimize import OptimizeParams
from onnxbuild.workers.engines.smoke_run import check_still_runs
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.folders.model_files import carry_along, copy_file, onnx_names
from onnxbuild.workers.graphs.cpu_kernels import part_skip_norms
from onnxbuild.workers.graphs.onnx_files import (
    EXTERNAL_FROM_BYTES,
    count_operators,
    external_files,
    load_graph,
    save_model,
    size_bytes,
)
from onnxbuild.workers.graphs.rewrites import share_equal_weights, tie_transposed_weights
from onnxbuild.workers.graphs.shapes import all_reductions
from onnxbuild.workers.graphs.weightless import can_leave_weights, change_graph
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.model_folder.decoders import graphs_to_change, merge, merged_name
from onnxbuild.workers.optimize.attention import fuse_attention_with_past
from onnxbuild.workers.optimize.completions import complete
from onnxbuild.workers.optimize.fused import check_fused, count_fused, warnings_of
from onnxbuild.workers.optimize.fusion_settings import LEVELS, Sizes, fusion_options, sizes_of


def run(params: OptimizeParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Optimize each graph, merge decoders again, carry the rest along.

    Facts: by file nodes and bytes before and after, fused operators by type, normalizations taken out of a fusion that
    is slower on a CPU (`skip_norms_parted`), seconds; `bytes`, `bytes_before`; `warnings`: what fuses in the model's
    family and did not here;
    `ran`: whether every result also ran, rather than only loaded.
    """
    source, destination = inputs["model"], outputs["model"]
    config = read_config(source)
    names = graphs_to_change(source)
    files: dict[str, Any] = {}
    for done, name in enumerate(names):
        progress(f"optimizing {name}", done, len(names))
        files[name] = _optimize(source / name, destination / name, config, params)
    if (merged := merged_name(source)) is not None:
        progress(f"merging {merged}", len(names), len(names))
        with quiet():
            files[merged] = merge(destination, merged)
    carry_along(source, destination)
    fused = {name: file["fused"] for name, file in files.items() if "fused" in file}
    check_fused(str(config.get("model_type")), params.level, fused)
    progress("running once")
    ran = [check_still_runs(source / name, destination / name, config) for name in onnx_names(destination)]
    return {
        "files": files,
        "warnings": warnings_of(str(config.get("model_type")), params.level, fused),
        "ran": all(ran),
        "bytes_before": sum(size_bytes(source / name) for name in onnx_names(source)),
        "bytes": sum(size_bytes(destination / name) for name in onnx_names(destination)),
    }


# Types whose attention with a past no fusion of onnxruntime 1.31 knows, and `attention.py` does.
_REWRITTEN = frozenset({"gpt2"})


def _optimize(source: Path, destination: Path, config: Mapping[str, Any], params: OptimizeParams) -> dict[str, Any]:
    started = time.perf_counter()
    before = load_graph(source)
    destination.parent.mkdir(parents=True, exist_ok=True)
    in_place = _leaves_weights(source, params)
    told: dict[str, Any] = {}
    with TemporaryDirectory(prefix="onnxbuild-optimize-") as folder, quiet():
        scratch, saved = Path(folder), 0

        def change(path: Path) -> ModelProto:
            changed = _optimized(path, scratch, config, params)
            told["fused"] = count_fused(changed)
            told["skip_norms_parted"] = part_skip_norms(changed) if params.device == "cpu" else 0
            return changed

        if in_place:
            model = change_graph(source, destination, scratch, change)
        else:
            model = change(_loadable(source, scratch))
            saved = share_equal_weights(model) + tie_transposed_weights(model)
            save_model(model, destination, external=bool(external_files(source)))
    return {
        "nodes_before": sum(count_operators(before).values()),
        "nodes": sum(count_operators(model).values()),
        **told,
        "bytes_before": size_bytes(source),
        "bytes": size_bytes(destination),
        "shared_bytes": saved,
        "weights_left_in_place": in_place,
        "seconds": round(time.perf_counter() - started, 3),
    }


def _leaves_weights(source: Path, params: OptimizeParams) -> bool:
    """Whether only the graph is changed: always where the level does no more, and where the weights are too large.

    Attention's fusion packs three weights into one; at 2 GB it is given up, since a message cannot hold the result.
    """
    only_graph = params.level == "O1" or (params.level != "O4" and size_bytes(source) >= EXTERNAL_FROM_BYTES)
    return only_graph and can_leave_weights(source)


def _loadable(source: Path, scratch: Path) -> Path:
    """A path from which onnx loads the model: it reads no external data through hard links, so it gets real files."""
    external = external_files(source)
    for name in (source.name, *external) if external else ():
        copy_file(source.with_name(name), scratch / name)
    return scratch / source.name if external else source


def _prepared(path: Path, scratch: Path, config: Mapping[str, Any]) -> Path:
    """The graph in the form that the fusions read; its attention fused where they know no such fusion and we do."""
    model = load_graph(path)
    if not complete(model) + _fuse_attention(model, config):
        return path
    rewritten = scratch / f"prepared-{path.name}"
    rewritten.write_bytes(model.SerializeToString())  # its weights, where they lie outside, lie beside both
    return rewritten


def _fuse_attention(model: ModelProto, config: Mapping[str, Any]) -> int:
    if config.get("model_type") not in _REWRITTEN:
        return 0
    # A head's scores divided by the number of its layer have no place in the operator.
    if config.get("scale_attn_by_inverse_layer_idx") or not config.get("scale_attn_weights", True):
        return 0
    return fuse_attention_with_past(model, int(config.get("n_head") or 0), int(config.get("n_embd") or 0))


def _optimized(path: Path, scratch: Path, config: Mapping[str, Any], params: OptimizeParams) -> ModelProto:
    from onnxruntime.transformers.optimizer import optimize_model

    level = LEVELS[params.level]
    sizes = sizes_of(config, params.level) if level.fuses else Sizes("bert", 0, 0)
    with all_reductions():
        optimizer = optimize_model(
            str(_prepared(path, scratch, config) if level.fuses else path),
            sizes.family,
            sizes.heads,
            sizes.hidden,
            opt_level=level.runtime,
            optimization_options=fusion_options(sizes.family, level),
            use_gpu=params.device == "cuda",
            only_onnxruntime=not level.fuses,
        )
    if level.halves:
        optimizer.convert_float_to_float16(use_symbolic_shape_infer=True, keep_io_types=True)
        optimizer.topological_sort()  # the casts of inputs stand last otherwise
    return optimizer.model
