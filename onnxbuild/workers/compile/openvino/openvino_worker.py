"""compile openvino: each graph becomes IR and a blob, with the properties that loading needs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompilerOfRecord
from onnxbuild.steps.compiling.openvino_backend import OPENVINO, OpenvinoParams, range_of
from onnxbuild.workers.compile.worker import finish, stages_in
from onnxbuild.workers.engines.compiled.needs_here import absent_here
from onnxbuild.workers.folders.model_files import copy_model_file
from onnxbuild.workers.folders.model_graphs import data_below
from onnxbuild.workers.model_folder.decoders import graphs_to_change

_DEVICE = "CPU"


def run(params: OpenvinoParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the IR and the blob of every graph; without OpenVINO or NNCF, the graphs that they would read.

    Errors: CheckFailed OBE238 for a graph that OpenVINO does not compile, OBE59 if a model reads no text.
    """
    source, folder = inputs["model"], outputs["model"]
    names = graphs_to_change(source)
    absent = absent_here(OPENVINO.compiler(params))
    version = _compile_all(params, inputs, folder, names, progress) if absent is None else None
    if absent is not None:
        for name in (*names, *data_below(source)):
            copy_model_file(source / name, folder / name)
    record = CompiledRecord(
        backend="openvino",
        state="prepared" if absent else "compiled",
        compiler=CompilerOfRecord(name="openvino", version=version),
        device=_DEVICE,
        stages=stages_in(source, {name: _blob(name) for name in names}),
        properties={"INFERENCE_PRECISION_HINT": params.precision},
        needs=absent,
        settings={**({"bounds": dict(params.bounds)} if params.bounds else {}), **(_asked(params) if absent else {})},
    )
    return finish(source, folder, record, files={name: {"bytes": _size(folder, name)} for name in names})


def _asked(params: OpenvinoParams) -> dict[str, Any]:
    """What is still to be done to the graphs of a prepared variant: they are those that OpenVINO would read."""
    asked = {name: getattr(params, name) for name in ("quantize", "weights", "group_size")}
    return {name: value for name, value in asked.items() if value is not UNSET}


def _blob(name: str) -> str:
    return f"{name.removesuffix('.onnx')}.blob"


def _size(folder: Path, name: str) -> int:
    """The bytes that a user loads: the blob, or the graph that is to be compiled."""
    blob = folder / _blob(name)
    return (blob if blob.is_file() else folder / name).stat().st_size


def _compile_all(
    params: OpenvinoParams, inputs: Mapping[str, Path], folder: Path, names: Sequence[str], progress: Tell
) -> str:
    import openvino

    feeds = functools.cache(functools.partial(_feeds, params, inputs))
    for done, name in enumerate(names):
        progress(f"compiling {name}", done, len(names))
        try:
            _compile(params, inputs["model"] / name, folder / name, functools.partial(_of_graph, feeds, name))
        except CheckFailed:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:500]
            message = f"OpenVINO does not compile `{name}`"
            notes = [("cause", f"{type(error).__name__}: {reason}")]
            if "group_size" in reason:
                notes.append(("hint", "write a `group_size` that divides the sizes of the weights, such as 16"))
            raise CheckFailed("OBE238", message, notes=notes) from error
    version: str = openvino.__version__
    return version


def _feeds(params: OpenvinoParams, inputs: Mapping[str, Path]) -> Any:
    """What each graph reads while NNCF measures its ranges. ONNX Runtime is needed for nothing else here."""
    from onnxbuild.workers.compile.calibration_feeds import calibration_feeds

    return calibration_feeds(params, inputs)


def _of_graph(feeds: Any, name: str) -> Any:
    return feeds()(name)


def _compile(params: OpenvinoParams, graph: Path, place: Path, feeds: Any) -> None:
    import openvino

    core = openvino.Core()
    model = core.read_model(graph)
    if params.is_quantized:
        from onnxbuild.workers.compile.openvino.nncf_quantizer import quantized

        model = quantized(model, params, feeds)
    if params.bounds:
        _bound(model, {name: range_of(text) for name, text in params.bounds.items()}, _axes(graph))
    place.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, place.with_suffix(".xml"), compress_to_fp16=False)
    compiled = core.compile_model(model, _DEVICE, {"INFERENCE_PRECISION_HINT": params.precision})
    blob = compiled.export_model().getvalue()
    if not blob:
        raise CheckFailed("OBE236", f"OpenVINO compiled `{graph.name}` and exported an empty blob")
    place.with_suffix(".blob").write_bytes(blob)


def _axes(graph: Path) -> dict[str, tuple[int | str, ...]]:
    """The axes of each input of a graph: OpenVINO forgets their names."""
    import onnx

    inputs = onnx.load(graph, load_external_data=False).graph.input
    return {one.name: tuple(d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim) for one in inputs}


def _bound(model: Any, bounds: Mapping[str, tuple[int, int]], axes: Mapping[str, tuple[int | str, ...]]) -> None:
    """Bound the free axes of these names. Errors: CheckFailed OBE238 for a name that no input has."""
    import openvino

    known = {axis for shape in axes.values() for axis in shape if isinstance(axis, str)}
    unknown = sorted(bounds.keys() - known)
    if unknown:
        listed = ", ".join(sorted(f"`{one}`" for one in known))
        raise CheckFailed("OBE238", f"no input has an axis `{unknown[0]}`", notes=[("axes", listed or "none is free")])
    shapes = {}
    for port in model.inputs:
        name = next(one for one in port.names if one in axes)
        dimensions = [bounds.get(axis, -1) if isinstance(axis, str) else axis for axis in axes[name]]
        shapes[port] = openvino.PartialShape([openvino.Dimension(*_ends(one)) for one in dimensions])
    model.reshape(shapes)


def _ends(dimension: int | tuple[int, int]) -> tuple[int, ...]:
    return dimension if isinstance(dimension, tuple) else (dimension,)
