"""Runs a graph with a provider of ONNX Runtime, told what `compiled.json` says: a GPU, or a part of a phone."""

from __future__ import annotations

import atexit
import functools
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import onnxruntime

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage
from onnxbuild.workers.engines.compiled.compiled_model import Call, CompiledModel
from onnxbuild.workers.engines.compiled.fixed_shapes import FixedShapes
from onnxbuild.workers.engines.compiled.needs_here import version_here
from onnxbuild.workers.engines.compiled.ort_engine import caller_of, opened
from onnxbuild.workers.engines.compiled.plugin_providers import not_started, plugin_devices
from onnxbuild.workers.engines.onnxruntime_engine import session_options

_NVIDIA = frozenset({"CUDAExecutionProvider", "TensorrtExecutionProvider"})
# Providers that come as a library of their own: the module that has it.
_PLUGINS: Mapping[str, str] = {"WebGpuExecutionProvider": "onnxruntime_ep_webgpu"}
_TOLD: Mapping[str, tuple[str, ...]] = {
    "CUDAExecutionProvider": ("use_tf32",),
    "CoreMLExecutionProvider": ("ModelFormat", "RequireStaticInputShapes"),
}
_PROFILES = tuple(f"trt_profile_{end}_shapes" for end in ("min", "opt", "max"))
_CACHE = "trt_engine_cache_enable"


class ProviderModel(CompiledModel):
    """The sessions of one folder on a provider. What the provider does not compute, the CPU does."""

    def __init__(self, folder: Path, record: CompiledRecord, *, threads: int) -> None:
        """Open every graph. Errors: CheckFailed OBE233 for another version, OBE234, OBE43 if it does not start."""
        _check(record)
        sizes = record.settings.get("sizes")
        self.shapes = FixedShapes(sizes, record.settings["rows"]) if sizes else None
        self._counts: Counter[str] = Counter()
        super().__init__(folder, record, threads=threads)

    def open_file(self, path: Path, stage: CompiledStage) -> Call:
        """Load a graph, which compiles it. Errors: CheckFailed OBE232 if the provider refuses it, OBE43."""
        provider = self.record.settings["provider"]
        options = session_options(self.threads)
        session = opened(path, options, self._chosen(provider, options))
        self._check_runs(session, provider, path.name)
        call = caller_of(session, stage)
        return call if self.shapes is None else self.shapes.around(call, stage)

    def fixed_shapes(self, stage: str) -> FixedShapes | None:  # noqa: ARG002 - there is one stage
        """The sizes of the program, where it has fixed ones."""
        return self.shapes

    def _chosen(self, provider: str, options: Any) -> list[Any]:
        """The providers of a session; those of a plug-in are added to its options instead."""
        given = dict(self.record.properties)
        if provider in _PLUGINS:
            options.add_provider_for_devices(plugin_devices(provider, _PLUGINS[provider]), given)
            return []
        if provider not in onnxruntime.get_available_providers():
            raise not_started(provider, f"this onnxruntime has {', '.join(onnxruntime.get_available_providers())}")
        if provider in _NVIDIA:
            _load_libraries()
        if given.get(_CACHE) == "1":  # the folder itself is read-only
            given.setdefault("trt_engine_cache_path", _engine_cache())
            given.setdefault("trt_timing_cache_path", _engine_cache())
        beside = [("CUDAExecutionProvider", {"use_tf32": "0"})] if provider == "TensorrtExecutionProvider" else []
        return [(provider, given), *beside, "CPUExecutionProvider"]

    def _check_runs(self, session: onnxruntime.InferenceSession, provider: str, name: str) -> None:
        """OBE43 if every node runs elsewhere: a provider that cannot start leaves no more than a log line."""
        for part in session.get_provider_graph_assignment_info():
            self._counts[part.ep_name] += len(part.get_nodes())
        if self._counts and provider not in self._counts:
            raise not_started(provider, f"`{name}` runs on {', '.join(sorted(self._counts))}")

    def providers(self) -> dict[str, int]:
        """How many nodes each provider runs, as ONNX Runtime assigned them."""
        return dict(self._counts)

    @property
    def longest(self) -> int | None:
        """Tokens of the longest row that it takes; None where shapes are free."""
        return None if self.shapes is None else self.shapes.longest


def _check(record: CompiledRecord) -> None:
    if "provider" not in record.settings:
        message = "`compiled.json` does not say with which provider the graph is run"
        raise CheckFailed("OBE234", message, notes=[("hint", "compile it again")])
    missing = next(_missing(record), None)
    if missing is not None:
        message = f"`compiled.json` lacks `{missing}`, without which the graph is loaded in another way"
        raise CheckFailed("OBE234", message, notes=[("hint", "compile it again")])
    here = version_here(record.compiler.name)
    if record.state == "compiled" and record.compiler.version != here:
        message = f"the variant is of {record.compiler.name} {record.compiler.version}, and {here} is installed"
        raise CheckFailed("OBE233", message, notes=[("hint", "compile it again, or install that version")])


def _missing(record: CompiledRecord) -> Iterator[str]:
    """What each provider has to be told, and the record does not have."""
    provider = record.settings["provider"]
    settings = ("sizes", "rows") if provider == "CoreMLExecutionProvider" else ()
    yield from (name for name in settings if name not in record.settings)
    shapes = [one.shape for stage in record.stages.values() for one in stage.inputs.values()]
    is_free = any(isinstance(size, str) for shape in shapes for size in shape)
    needed = _PROFILES if provider == "TensorrtExecutionProvider" and is_free else _TOLD.get(provider, ())
    yield from (name for name in needed if name not in record.properties)


@functools.cache
def _engine_cache() -> str:
    """A folder for the engines that this process builds."""
    folder = tempfile.mkdtemp(prefix="onnxbuild-engines-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _load_libraries() -> None:
    """Load the libraries of CUDA and cuDNN from the packages of NVIDIA, where the system's loader does not look."""
    with redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()
