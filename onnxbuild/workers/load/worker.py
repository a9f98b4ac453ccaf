"""load: opens every graph of a variant once, as its user will, so that no model is delivered that does not load."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import UNSET

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.checks.load_check import LoadParams
from onnxbuild.workers.failures.exceptions import explain_exception
from onnxbuild.workers.folders.model_files import onnx_names
from onnxbuild.workers.folders.model_graphs import check_data


def run(params: LoadParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Open each graph with all of its weights, and write the names of those that opened to `opened.json`.

    Where onnxruntime is not installed, only the files that the graphs refer to are checked, with a warning. Errors:
    CheckFailed OBE81 for a graph that does not load, OBE40 and OBE41 for files that are missing or damaged, and every
    code by which a message of ONNX Runtime is known.
    """
    folder = inputs["model"]
    if params.runtime is not UNSET:
        return _open_compiled(folder, params, outputs)
    names = onnx_names(folder)
    for name in names:
        check_data(folder / name)
    warnings = []
    for done, name in enumerate(names):
        progress(f"opening {name}", done, len(names))
        warning = _open(folder / name, name, params)
        warnings += [warning] if warning is not None else []
    facts: Facts = {"opened": [] if warnings else list(names)} | ({"warnings": warnings[:1]} if warnings else {})
    (outputs["report"] / "opened.json").write_bytes(msgspec.json.encode(facts))
    return facts


def _open_compiled(folder: Path, params: LoadParams, outputs: Mapping[str, Path]) -> Facts:
    """Open a compiled variant with its engine, where the machine has what that needs. Nothing of it is run."""
    from onnxbuild.workers.engines.compiled.open_variant import open_compiled, why_skipped

    lacking = why_skipped(folder, params.runtime)
    if lacking is not None:
        facts: Facts = {"skipped": lacking}
    else:
        variant = open_compiled(folder, threads=1)
        facts = {"opened": sorted({one.file for one in variant.record.stages.values()}), "backend": variant.name}
    (outputs["report"] / "opened.json").write_bytes(msgspec.json.encode(facts))
    return facts


def _open(path: Path, name: str, params: LoadParams) -> str | None:
    """Open one graph; the reason why it cannot be opened here, if that says nothing about the graph."""
    if find_spec("onnxruntime") is None:
        return f"{name} was not opened: onnxruntime is not installed, so whether it loads is not known"
    try:
        if params.device == "cuda":
            return _open_on_device(path, name)
        _open_on_cpu(path)
    except CheckFailed:
        raise
    except Exception as error:
        raise _explained(error, name) from error
    return None


def _open_on_cpu(path: Path) -> None:
    from onnxbuild.workers.engines.smoke_run import open_for_check

    open_for_check(path, optimize=True)


def _open_on_device(path: Path, name: str) -> str | None:
    """Open a graph with CUDA; without CUDA on the CPU, which may have no kernels for it."""
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

    from onnxbuild.workers.engines.onnxruntime_engine import open_session

    try:
        open_session(path, threads=1, device="cuda")
    except CheckFailed as absent:
        if absent.failure.code != "OBE43":
            raise
        try:
            _open_on_cpu(path)
        except NoKernel:
            return f"{name} was not opened: {absent.failure.message}; the CPU has no kernels for it"
    return None


def _explained(error: Exception, name: str) -> CheckFailed:
    known = explain_exception(error, "")
    if known.code not in {"OBE81", "OBE99"}:
        return CheckFailed(known.code, known.message, notes=known.notes)
    reason = " ".join(str(error).split())
    hint = "look at the step before it with `netron`, or build it again; ONNX Runtime gives the reason"
    return CheckFailed("OBE81", f"{name} does not load", notes=[("cause", reason), ("hint", hint)])
