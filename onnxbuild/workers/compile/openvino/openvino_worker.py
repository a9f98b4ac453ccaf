"""compile openvino: each graph becomes IR and a blob, with the properties that loading needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompilerOfRecord
from onnxbuild.steps.compiling.openvino_backend import OpenvinoParams
from onnxbuild.workers.compile.worker import finish, stages_in
from onnxbuild.workers.engines.compiled.needs_here import absent_here
from onnxbuild.workers.folders.model_files import onnx_names

_DEVICE = "CPU"


def run(params: OpenvinoParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the IR and the blob of every graph, or, without OpenVINO, say what would be done."""
    source, folder = inputs["model"], outputs["model"]
    names = onnx_names(source)
    properties = {"INFERENCE_PRECISION_HINT": params.precision}
    absent = absent_here(("openvino",))
    for done, name in enumerate(names):
        progress(f"compiling {name}", done, len(names))
        if absent is None:
            _compile(source / name, folder / name, properties)
    version = None
    if absent is None:
        import openvino

        version = openvino.__version__
    record = CompiledRecord(
        backend="openvino",
        state="prepared" if absent else "compiled",
        compiler=CompilerOfRecord(name="openvino", version=version),
        device=_DEVICE,
        stages=stages_in(source, {name: _with(name, ".blob") for name in names}),
        properties=properties,
        needs=absent,
    )
    return finish(source, folder, record, files={name: {} for name in names})


def _with(name: str, ending: str) -> str:
    return f"{name.removesuffix('.onnx')}{ending}"


def _compile(graph: Path, place: Path, properties: Mapping[str, str]) -> Any:
    import openvino

    core = openvino.Core()
    model = core.read_model(graph)
    place.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, place.with_suffix(".xml"), compress_to_fp16=False)
    compiled = core.compile_model(model, _DEVICE, dict(properties))
    place.with_suffix(".blob").write_bytes(compiled.export_model().getvalue())
