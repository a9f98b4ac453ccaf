"""export: a checkpoint becomes ONNX files, through the exporter of the params, with what loaders need beside them."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from msgspec import UNSET

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.exporters import EXPORTERS, is_own, pick, reason
from onnxbuild.workers.engines.timing import versions
from onnxbuild.workers.export import own_exporter
from onnxbuild.workers.export.exported import check_graph, settle
from onnxbuild.workers.folders.model_files import carry_companions, files_below, onnx_names
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.libraries.remote_code import remote_code
from onnxbuild.workers.model_folder.decoders import merge_parts

# Imported when it is picked: each needs a library that the others exclude.
_EXPORTERS: Mapping[str, str] = {
    "optimum": "onnxbuild.workers.export.optimum_exporter",
    "transformers": "onnxbuild.workers.export.transformers_exporter",
    "genai": "onnxbuild.workers.export.genai_exporter",
}

# What takes long to import, so that its time is told apart.
_LIBRARIES: Mapping[str, str] = {
    "optimum": "optimum.exporters.onnx",
    "transformers": "transformers.exporters",
    "genai": "onnxruntime_genai",
}


def run(params: ExportParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Export, tidy and check.

    Facts: by file nodes, bytes, opset, ir_version; the exporter and why it was picked; the dtype, and seconds by phase;
    `merged`: whether a decoder's two passes also became one file, where that was tried, and if not, why.
    """
    source, destination = inputs["model"], outputs["model"]
    config = _config(source)
    if not params.task:
        raise CheckFailed(
            "OBE01",
            "no task is given and the model's config.json does not tell one",
            notes=[("hint", _tasks_in_words(params.exporter, str(config.get("model_type"))))],
        )
    if params.exporter == "auto":  # a plan has picked already; whoever calls this alone has not
        picked = pick(str(config.get("model_type")), params.task, versions())
        params = msgspec.structs.replace(params, exporter=picked)
    started = time.perf_counter()
    progress("loading libraries")
    with quiet():
        importlib.import_module(_LIBRARIES.get(params.exporter, "torch"))
    loaded = time.perf_counter()
    progress("tracing the model")
    asked = _asked_of_config(params)
    with _checkpoint(source, config, asked) as checkpoint, remote_code(allowed=params.trusts_code), quiet():
        try:
            _export(checkpoint, destination, params, inputs)
        except Exception as error:
            error.add_note(_circumstances(params))
            raise
    traced = time.perf_counter()
    progress("writing")
    carry_companions(source, destination)
    if params.pad_token_id is not UNSET:  # the validation takes it from there, for PyTorch too
        _name_padding(destination / "config.json", params.pad_token_id)
    if params.exporter != "genai":  # its graph is made for one runtime, in the precision that was asked for
        settle(destination, params.dtype)
    # optimum merges by itself, and a function of the user's own writes what it writes.
    merged = merge_parts(destination) if params.exporter == "transformers" else {}
    progress("checking")
    standard = params.exporter != "genai"  # it writes operators of onnxruntime's own, under the standard's domain
    files = {name: check_graph(destination / name, params.opset, standard=standard) for name in onnx_names(destination)}
    return {
        "files": files,
        "exporter": params.exporter,
        "because": reason(params.exporter, str(config.get("model_type")), params.task),
        "dtype": params.dtype,
        **merged,
        "bytes": sum((destination / name).stat().st_size for name in files_below(destination)),
        "seconds": {
            "load": round(loaded - started, 3),
            "export": round(traced - loaded, 3),
            "check": round(time.perf_counter() - traced, 3),
        },
    }


def _tasks_in_words(exporter: str, model_type: str) -> str:
    names = [exporter] if exporter in EXPORTERS else list(EXPORTERS)
    tasks = sorted({task for name in names for task in EXPORTERS[name].tasks_of(model_type)})
    return f"set `task:` to one of {', '.join(tasks)}" if tasks else "set `task:` on the model"


def _circumstances(params: ExportParams) -> str:
    """What a report of a failed export has to say: who exported, how, with which versions."""
    found = versions()
    with_what = [f"{name} {found[name]}" for name in ("torch", "transformers", "optimum-onnx") if name in found]
    return ", ".join([f"exporter {params.exporter}", f"task {params.task}", f"opset {params.opset}", *with_what])


def _export(checkpoint: Path, destination: Path, params: ExportParams, inputs: Mapping[str, Path]) -> None:
    if is_own(params.exporter):
        own_exporter.export(checkpoint, destination, params, inputs["exporter"])
        return
    module = importlib.import_module(_EXPORTERS[params.exporter])
    module.export(checkpoint, destination, params)


def _asked_of_config(params: ExportParams) -> dict[str, Any]:
    """What the params have exporters read from config.json, whichever exporter it is."""
    attention = {"attn_implementation": params.attention} if params.attention != "auto" else {}
    return attention | ({"pad_token_id": params.pad_token_id} if params.pad_token_id is not UNSET else {})


def _name_padding(path: Path, pad_token_id: int) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "pad_token_id": pad_token_id}, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _checkpoint(source: Path, config: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[Path]:
    """The folder to export from: the source, or links to it with a config that asks for more."""
    if not asked:
        yield source
        return
    with TemporaryDirectory(prefix="onnxbuild-export-") as scratch:
        root = Path(scratch)
        for name in files_below(source):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(os.path.abspath(source / name))
        (root / "config.json").unlink()
        (root / "config.json").write_text(json.dumps({**config, **asked}))
        yield root


def _config(source: Path) -> dict[str, Any]:
    try:
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckFailed(
            "OBE16",
            "the checkpoint has no config.json",
            notes=[("holds", ", ".join(files_below(source)) or "nothing")],
        ) from None
    except ValueError as error:
        raise CheckFailed("OBE16", f"config.json is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckFailed("OBE16", "config.json is not a JSON object")
    return config
