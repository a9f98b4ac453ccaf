"""export: turns a checkpoint into ONNX files with the exporter of the params, and adds the files that loaders need."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from msgspec import UNSET

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.exporters import EXPORTERS, is_own, pick, reason
from onnxbuild.tables.checkpoints.other_libraries import described
from onnxbuild.workers.engines.loading import Loaded, watched
from onnxbuild.workers.engines.timing import versions
from onnxbuild.workers.export import own_exporter
from onnxbuild.workers.export.exported import check_graph, settle
from onnxbuild.workers.export.fixed_axes import settle_axes
from onnxbuild.workers.export.missing_weights import check_weights
from onnxbuild.workers.export.repairs.zeros_before_pools import keep_zeros_before_pools
from onnxbuild.workers.failures.exceptions import note_export
from onnxbuild.workers.folders.configs import limit_tokenizer, named_outputs
from onnxbuild.workers.folders.model_files import bytes_below, carry_companions, files_below, onnx_names
from onnxbuild.workers.libraries.absent_sklearn import sklearn_hidden
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.libraries.remote_code import remote_code
from onnxbuild.workers.model_folder.decoders import merge_parts

# Imported when it is chosen: each needs a library that excludes the others.
_EXPORTERS: Mapping[str, str] = {
    "optimum": "onnxbuild.workers.export.optimum_exporter",
    "transformers": "onnxbuild.workers.export.transformers_exporter",
    "mobius": "onnxbuild.workers.export.mobius_exporter",
    "genai": "onnxbuild.workers.export.genai_exporter",
    "timm": "onnxbuild.workers.export.other_libraries.timm_exporter",
    "sentence_transformers": "onnxbuild.workers.export.other_libraries.static_exporter",
}

# The import that takes longest, so that its time is measured separately.
_LIBRARIES: Mapping[str, str] = {
    "optimum": "optimum.exporters.onnx",
    "transformers": "transformers.exporters",
    "mobius": "mobius",
    "genai": "onnxruntime_genai",
    "timm": "timm",
}


def run(params: ExportParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Export the checkpoint, tidy the result and check it.

    Facts: by file nodes, bytes, opset, ir_version; the exporter and the reason for it; the dtype, and seconds by phase;
    `picture`: the one size of pictures that the graph takes. `merged`: whether a decoder's two passes were merged into
    one file, if that was tried, and `because` if not.
    """
    source, destination = inputs["model"], outputs["model"]
    config = _config(source)
    params = _with_exporter(params, str(config.get("model_type")))
    times = [time.perf_counter()]
    progress("loading libraries")
    with quiet(), sklearn_hidden():
        importlib.import_module(_LIBRARIES.get(params.exporter, "torch"))
    times.append(time.perf_counter())
    progress("tracing the model")
    loads = _trace(params, inputs, config, destination)
    times.append(time.perf_counter())
    progress("writing")
    merged = _tidy(params, source, destination)
    progress("checking")
    # genai writes operators of onnxruntime's own, under the standard's domain.
    standard = params.exporter != "genai"
    files = {name: check_graph(destination / name, params.opset, standard=standard) for name in onnx_names(destination)}
    weights = check_weights(loads, params, source, destination)
    times.append(time.perf_counter())
    return {
        "files": files,
        "exporter": params.exporter,
        "because": reason(params.exporter, str(config.get("model_type")), params.task),
        "dtype": params.dtype,
        **({} if params.max_length is UNSET else {"max_length": params.max_length}),
        **merged,
        **weights,
        "bytes": bytes_below(destination),
        "seconds": _phases(times),
    }


def _phases(times: Sequence[float]) -> dict[str, float]:
    return {name: round(times[n + 1] - times[n], 3) for n, name in enumerate(("load", "export", "check"))}


def _with_exporter(params: ExportParams, model_type: str) -> ExportParams:
    """The params with an exporter chosen, as a plan has done already. Errors: CheckFailed OBE01 without a task."""
    if not params.task:
        raise CheckFailed(
            "OBE01",
            "no task is set, and the model's config.json does not determine one",
            notes=[("hint", _task_hint(params.exporter, model_type))],
        )
    if params.exporter != "auto":
        return params
    return msgspec.structs.replace(params, exporter=pick(model_type, params.task, versions()))


def _trace(
    params: ExportParams, inputs: Mapping[str, Path], config: Mapping[str, Any], destination: Path
) -> list[Loaded]:
    requested = {**named_outputs(config), **_requested_of_config(params)}
    with (
        _checkpoint(inputs["model"], config, requested) as checkpoint,
        remote_code(allowed=params.trusts_code),
        quiet(),
        watched(checkpoint) as loads,
    ):
        try:
            own = _export(checkpoint, destination, params, inputs)
        except Exception as error:
            note_export(error, _circumstances(params))
            raise
    return [*loads, *own]


def _tidy(params: ExportParams, source: Path, destination: Path) -> dict[str, Any]:
    """Add what loaders read, convert, and merge a decoder's two passes; facts about the merge and the axes."""
    carry_companions(source, destination)
    if params.pad_token_id is not UNSET:  # the validation reads it there, for PyTorch too
        _name_padding(destination / "config.json", params.pad_token_id)
    if params.max_length is not UNSET:
        limit_tokenizer(destination, params.max_length)
    ours = params.exporter in {"optimum", "transformers"}
    if ours:
        keep_zeros_before_pools(destination)
    if params.exporter != "genai":  # its graph is made for one runtime, in the requested precision
        settle(destination, params.dtype)
    # optimum merges by itself, and the files of a custom exporter stay as they are.
    merged = merge_parts(destination) if params.exporter == "transformers" else {}
    return {**merged, **(settle_axes(destination, params.task) if ours else {})}


def _task_hint(exporter: str, model_type: str) -> str:
    names = [exporter] if exporter in EXPORTERS else list(EXPORTERS)
    tasks = sorted({task for name in names for task in EXPORTERS[name].tasks_of(model_type)})
    return f"set `task:` to one of {', '.join(tasks)}" if tasks else "set `task:` on the model"


def _circumstances(params: ExportParams) -> str:
    """What a report of a failed export must contain: the exporter, its settings, and the versions of libraries."""
    installed = versions()
    libraries = [f"{name} {installed[name]}" for name in ("torch", "transformers", "optimum-onnx") if name in installed]
    return ", ".join([params.exporter, f"task {params.task}", f"opset {params.opset}", *libraries])


def _export(checkpoint: Path, destination: Path, params: ExportParams, inputs: Mapping[str, Path]) -> list[Loaded]:
    """Write the graphs; returns the loads of an exporter that does not load with transformers."""
    if is_own(params.exporter):
        own_exporter.export(checkpoint, destination, params, inputs["exporter"])
        return []
    module = importlib.import_module(_EXPORTERS[params.exporter])
    return module.export(checkpoint, destination, params) or []


def _requested_of_config(params: ExportParams) -> dict[str, Any]:
    """The entries of config.json that the params set for every exporter."""
    attention = {"attn_implementation": params.attention} if params.attention != "auto" else {}
    return attention | ({"pad_token_id": params.pad_token_id} if params.pad_token_id is not UNSET else {})


def _name_padding(path: Path, pad_token_id: int) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "pad_token_id": pad_token_id}, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _checkpoint(source: Path, config: Mapping[str, Any], requested: Mapping[str, Any]) -> Iterator[Path]:
    """The folder to export from: the source, or links to it with a changed config."""
    if not requested:
        yield source
        return
    with TemporaryDirectory(prefix="onnxbuild-export-") as scratch:
        root = Path(scratch)
        for name in files_below(source):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(os.path.abspath(source / name))
        (root / "config.json").unlink()
        (root / "config.json").write_text(json.dumps({**config, **requested}))
        yield root


def _config(source: Path) -> Mapping[str, Any]:
    """The config of a checkpoint, with the model type where it is one of another library."""
    files = files_below(source)
    found = described(_written_config(source) if "config.json" in files else None, files)
    if found is None:
        raise CheckFailed(
            "OBE16", "the checkpoint has no config.json", notes=[("holds", ", ".join(files) or "nothing")]
        )
    return found


def _written_config(source: Path) -> dict[str, Any]:
    try:
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckFailed("OBE16", f"config.json is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckFailed("OBE16", "config.json is not a JSON object")
    return config
