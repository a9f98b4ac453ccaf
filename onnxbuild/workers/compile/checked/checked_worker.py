"""compile tensorrt, cuda, webgpu, coreml, migraphx, dml: checked graphs, and the options with which they are loaded.

These providers compile while they load a graph, on their device. Where it is absent, the variant is `prepared`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.compiling.backends import backend_named
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompilerOfRecord
from onnxbuild.steps.compiling.provider_backends import FixedParams, ProviderParams, TensorrtParams
from onnxbuild.tables.runtimes.runtime_limits import LIMITS
from onnxbuild.workers.compile.checked.graph_limits import check_limits
from onnxbuild.workers.compile.checked.provider_options import fixed_sizes, options_of
from onnxbuild.workers.compile.fixed_graphs import sizes_of, with_sizes
from onnxbuild.workers.compile.worker import finish, stages_in, write_script
from onnxbuild.workers.engines.compiled.needs_here import absent_here, version_here
from onnxbuild.workers.folders.model_files import onnx_names
from onnxbuild.workers.graphs.graph_files import load_model, save_model

Paths = Mapping[str, Path]

_SCRIPT = "open_with_provider.py"


def run(params: ProviderParams, inputs: Paths, outputs: Paths, progress: Tell) -> Facts:
    """Write the graphs that a provider takes in any shape, and what it has to be told. Errors: see `_prepare`."""
    return _prepare(params, inputs, outputs, progress)


def run_fixed(params: FixedParams, inputs: Paths, outputs: Paths, progress: Tell) -> Facts:
    """The same, for a provider that takes one shape."""
    return _prepare(params, inputs, outputs, progress)


def run_tensorrt(params: TensorrtParams, inputs: Paths, outputs: Paths, progress: Tell) -> Facts:
    """The same, with the profiles and types of TensorRT."""
    return _prepare(params, inputs, outputs, progress)


def _prepare(params: ProviderParams, inputs: Paths, outputs: Paths, progress: Tell) -> Facts:
    """Check and write the graphs, and load them where the device is.

    Errors: CheckFailed OBE252 to OBE254 for a graph that it does not take, OBE43 if it does not start on this machine.
    """
    source, folder = inputs["model"], outputs["model"]
    limits, names = LIMITS[str(params.provider)], onnx_names(source)
    on_cpu: dict[str, int] = {}
    settings: dict[str, Any] = {"provider": limits.provider}
    for done, name in enumerate(names):
        progress(f"checking {name}", done, len(names))
        model = load_model(source / name)
        model, sizes = _of_one_shape(model, params)
        settings |= sizes
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write(params, inputs, name, model, folder / name)
        for one, count in check_limits(onnx.load(folder / name, load_external_data=False), limits, name).items():
            on_cpu[one] = on_cpu.get(one, 0) + count
    stages = stages_in(source, {name: name for name in names})
    command = ("python", _SCRIPT)
    shutil.copyfile(Path(__file__).with_name(_SCRIPT), folder / _SCRIPT)
    write_script(folder, command)
    absent = _absent(params)
    record = CompiledRecord(
        backend=str(params.provider),
        state="prepared" if absent else "compiled",
        compiler=CompilerOfRecord(name=_runtime(params), version=version_here(_runtime(params)), command=command),
        device=str(params.provider).upper(),
        stages=stages,
        properties=options_of(params, stages),
        needs=absent,
        settings=settings,
    )
    facts = finish(source, folder, record, on_cpu=on_cpu, checked_against=limits.version)
    if absent is None:
        progress(f"loading with {limits.provider}")
        _load(folder)
    return facts


def _runtime(params: ProviderParams) -> str:
    """The distribution that has the provider."""
    return _needs(params)[0]


def _needs(params: ProviderParams) -> tuple[str, ...]:
    backend = backend_named(str(params.provider))
    return () if backend is None else backend.compiler(params)


def _absent(params: ProviderParams) -> str | None:
    return absent_here(_needs(params))


def _of_one_shape(model: Any, params: ProviderParams) -> tuple[Any, dict[str, Any]]:
    """The graph with its sizes, and what the engine has to know of them; unchanged where shapes stay free."""
    fixed = fixed_sizes(params)
    if fixed is None:
        return model, {}
    sizes = sizes_of(model, batch=fixed[0], sequence=fixed[1])
    rows = str(model.graph.input[0].type.tensor_type.shape.dim[0].dim_param)
    return with_sizes(model, sizes), {"sizes": sizes, "rows": rows}


def _write(params: ProviderParams, inputs: Mapping[str, Path], name: str, model: Any, place: Path) -> None:
    """Write a graph; with `precision: int8`, with integers whose ranges are from text."""
    if not isinstance(params, TensorrtParams) or params.precision != "int8":
        save_model(model, place)
        return
    from onnxbuild.workers.compile.calibration_feeds import calibration_feeds
    from onnxbuild.workers.compile.integer_graphs import symmetric_integers

    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        plain = Path(scratch) / "plain.onnx"
        save_model(model, plain)
        symmetric_integers(plain, place, calibration_feeds(params, inputs)(name))


def _load(folder: Path) -> None:
    """Load the graphs with the provider, which compiles them. Errors: CheckFailed OBE43, OBE232."""
    from onnxbuild.workers.engines.compiled.open_variant import open_compiled

    try:
        open_compiled(folder, threads=1)
    except CheckFailed as failure:
        if failure.failure.code == "OBE232":
            raise CheckFailed("OBE238", failure.failure.message, notes=failure.failure.notes) from failure
        raise
