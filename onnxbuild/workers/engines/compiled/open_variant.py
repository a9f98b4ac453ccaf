"""Opens a variant with what runs it: ONNX Runtime, or the engine of the backend that has compiled it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from onnxbuild.needs.step_needs import FILE, LIBRARY, absence, need_name, why_without_device
from onnxbuild.protocol import CheckFailed
from onnxbuild.publishing.sha256_sums import sha256_of
from onnxbuild.steps.compiling.backend_kind import HOST_DOUBLE, Backend, Place
from onnxbuild.steps.compiling.backends import backend_named
from onnxbuild.steps.compiling.compiled_record import FORMAT, RECORD, CompiledRecord, read_record
from onnxbuild.steps.kind import Runtime, all_needs
from onnxbuild.workers.engines.compiled.compiled_model import CompiledModel
from onnxbuild.workers.engines.compiled.needs_here import need_absent_here
from onnxbuild.workers.engines.engine import Device

_ARTICLES: Mapping[Place, str] = {HOST_DOUBLE: "a", "emulator": "an"}

Opened = Any  # an `OnnxModel` or a `CompiledModel`: both follow `Engine` and `Graphs`


def open_variant(folder: Path, *, threads: int, device: Device = "cpu") -> Opened:
    """The engine of a variant.

    Errors: CheckFailed OBE230 to OBE234 for a compiled variant that cannot be run as it is, and those of `OnnxModel`.
    """
    if (folder / RECORD).is_file():
        return open_compiled(folder, threads=threads)
    from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel

    return OnnxModel(folder, threads=threads, device=device)


def open_compiled(folder: Path, *, threads: int) -> CompiledModel:
    """The engine of a compiled variant, once its files are those that were compiled."""
    record = checked_record(folder)
    backend = backend_named(record.backend)
    if backend is None:
        hint = "install the plugin that brings it"
        message = f"the variant was compiled for `{record.backend}`, and no such backend is installed"
        raise CheckFailed("OBE231", message, notes=[("hint", hint)])
    return _engine_of(backend)(folder, record, threads=threads)


def _engine_of(backend: Backend) -> type[CompiledModel]:
    module, _, name = backend.engine.partition(":")
    engine: type[CompiledModel] = getattr(import_module(module), name)
    return engine


def checked_record(folder: Path) -> CompiledRecord:
    """The record of a folder whose files are those that were compiled. Errors: CheckFailed OBE230, OBE232."""
    try:
        record = read_record(folder)
    except msgspec.DecodeError as error:
        raise CheckFailed("OBE230", f"`{RECORD}` cannot be read: {error}") from error
    if record is None or record.format != FORMAT:
        raise CheckFailed("OBE230", f"`{RECORD}` is missing or has another format")
    if not record.stages:
        raise CheckFailed("OBE230", f"`{RECORD}` names no stage: nothing says which file is run with which inputs")
    for name, digest in record.files.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != digest:
            what = "is not the file that was compiled" if path.is_file() else "is missing"
            raise CheckFailed("OBE232", f"`{name}` {what}", notes=[("hint", "compile it again")])
    return record


def why_skipped(folder: Path, runtime: Runtime | UnsetType) -> str | None:
    """What the machine lacks to run a compiled variant, as `needs qaic-compile`; None if it can run."""
    if runtime is UNSET:
        return None
    absent = need_absent_here(all_needs(runtime))
    if absent is not None:
        return _needs(absent, runtime.backend)
    record = checked_record(folder)
    backend = backend_named(record.backend)
    if record.state == "prepared" and (backend is None or backend.verified_on != HOST_DOUBLE):
        return f"needs {record.needs or 'a compiler'}: the variant is only prepared"
    return "needs an engine: nothing runs it" if backend is not None and backend.verified_on is None else None


def _needs(absent: str, backend: str) -> str:
    """What lacks, as a person calls it: a file or a library only says something beside the backend that it is for."""
    if absent.startswith((FILE, LIBRARY)) or why_without_device(absent):
        return f"needs {backend}: {absence(absent)}"
    return f"needs {need_name(absent)}"


def why_not_timed(folder: Path, runtime: Runtime | UnsetType) -> str | None:
    """What the machine lacks to measure a variant: a host double or an emulator says nothing about the device."""
    lacking = why_skipped(folder, runtime)
    if lacking is not None or runtime is UNSET:
        return lacking
    record = checked_record(folder)
    backend = backend_named(record.backend)
    place = "device" if backend is None or backend.verified_on is None else _engine_of(backend).place_here(record)
    if place == "device":
        return None
    reason = _without_device(runtime) if record.state == "compiled" else None
    return f"needs {record.device}: {reason or f'{_ARTICLES[place]} {place} is not measured'}"


def _without_device(runtime: Runtime) -> str | None:
    """Why a device is not used although its tools are here, in words."""
    absent = None if runtime.uses is UNSET else need_absent_here(runtime.uses)
    return None if absent is None else why_without_device(absent)


def executed(variant: Any) -> dict[str, Any]:
    """The fact of where a compiled variant has run; empty for ONNX Runtime."""
    where = getattr(variant, "where", None)
    return {} if where is None else {"executed_on": msgspec.to_builtins(where), "backend": variant.name}
