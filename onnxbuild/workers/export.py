"""export: a checkpoint becomes ONNX files, through optimum's exporter, with what loaders need beside them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.kind import CheckFailed, Facts, Tell
from onnxbuild.workers.exported import check_graph, settle
from onnxbuild.workers.folder import carry_companions, files_below, onnx_names
from onnxbuild.workers.quiet import quiet


def run(params: ExportParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Export, tidy and check. Facts: by file nodes, bytes, opset, ir_version; the dtype, and seconds by phase."""
    source, destination = inputs["model"], outputs["model"]
    started = time.perf_counter()
    progress("loading libraries")
    with quiet():
        from optimum.exporters.onnx import main_export  # noqa: F401 - the import is what takes long here
    loaded = time.perf_counter()
    progress("tracing the model")
    with _checkpoint(source, params.attention) as checkpoint, quiet():
        _export(checkpoint, destination, params)
    traced = time.perf_counter()
    progress("writing")
    carry_companions(source, destination)
    settle(destination, params.dtype)
    progress("checking")
    files = {name: check_graph(destination / name, params.opset) for name in onnx_names(destination)}
    return {
        "files": files,
        "dtype": params.dtype,
        "bytes": sum((destination / name).stat().st_size for name in files_below(destination)),
        "seconds": {
            "load": round(loaded - started, 3),
            "export": round(traced - loaded, 3),
            "check": round(time.perf_counter() - traced, 3),
        },
    }


def _export(checkpoint: Path, destination: Path, params: ExportParams) -> None:
    from optimum.exporters.onnx import main_export

    main_export(
        str(checkpoint),
        destination,
        task=_optimum_task(params.task),
        opset=params.opset,
        dtype="fp32",  # fp16 is converted afterwards: exported on a CPU, half of the families do not load
        library_name=None if params.library == "auto" else params.library,
        local_files_only=True,
        do_validation=False,
    )


def _optimum_task(task: str) -> str:
    if not task:
        raise CheckFailed("OBE01", "no task is given and the model's config.json does not tell one")
    return task


@contextmanager
def _checkpoint(source: Path, attention: str) -> Iterator[Path]:
    """The folder to export from: the source, or links to it with a config that asks for another attention."""
    config = _config(source)
    if attention == "auto":
        yield source
        return
    with TemporaryDirectory(prefix="onnxbuild-export-") as scratch:
        root = Path(scratch)
        for name in files_below(source):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(os.path.abspath(source / name))
        (root / "config.json").unlink()
        (root / "config.json").write_text(json.dumps({**config, "attn_implementation": attention}))
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
