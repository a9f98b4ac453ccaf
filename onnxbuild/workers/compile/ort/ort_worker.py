"""compile ort: each graph as ONNX Runtime's optimizer leaves it, and what a small build has to contain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompilerOfRecord
from onnxbuild.steps.compiling.ort_backend import Level, OrtParams
from onnxbuild.workers.compile.worker import finish, stages_in
from onnxbuild.workers.engines.compiled.needs_here import absent_here, version_here
from onnxbuild.workers.folders.model_files import copy_model_file, onnx_names
from onnxbuild.workers.folders.model_graphs import data_below

_RUNTIME = "onnxruntime"
# Names of ONNX Runtime, which is imported where it is used: without it, the graphs are prepared.
_LEVELS: Mapping[Level, str] = {"basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED", "all": "ORT_ENABLE_ALL"}
_MOST_BYTES = 2 << 30  # of a flatbuffer or a protobuf message
OPERATORS = "required_operators.config"
OPERATORS_AND_TYPES = "required_operators_and_types.config"


def run(params: OrtParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write each graph as optimized; without ONNX Runtime, the graphs that it would read.

    Errors: CheckFailed OBE238 if ONNX Runtime does not take or write a graph.
    """
    source, folder = inputs["model"], outputs["model"]
    absent = absent_here((_RUNTIME,))
    names = onnx_names(source)
    places = {name: f"{name.removesuffix('.onnx')}.{params.format}" for name in names}
    if absent is None:
        _optimize_all(source, folder, places, params, progress)
    else:
        for name in (*names, *data_below(source)):
            copy_model_file(source / name, folder / name)
    record = CompiledRecord(
        backend="ort",
        state="prepared" if absent else "compiled",
        compiler=CompilerOfRecord(name=_RUNTIME, version=version_here(_RUNTIME)),
        device="CPU",
        stages=stages_in(source, places),
        needs=absent,
        settings={"cpu": params.cpu or "", "level": params.level},
    )
    return finish(source, folder, record, cpu=params.cpu or "")


def _optimize_all(source: Path, folder: Path, places: Mapping[str, str], params: OrtParams, progress: Tell) -> None:
    for done, (name, place) in enumerate(places.items()):
        progress(f"optimizing {name}", done, len(places))
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        _optimize(source / name, folder / place, params)
    if params.format == "ort":
        _list_operators(folder, list(places.values()), types=params.type_reduction is True)


def _optimize(graph: Path, place: Path, params: OrtParams) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[params.level])
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = str(place)
    if params.format == "ort":
        options.add_session_config_entry("session.save_model_format", "ORT")
    elif _is_large(graph):
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", f"{place.name}.data"
        )
    try:
        onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = " ".join(str(error).split())[:500]
        message = f"ONNX Runtime does not optimize `{graph.name}`"
        raise CheckFailed("OBE238", message, notes=[("cause", reason)]) from error
    if not place.is_file() or place.stat().st_size == 0:
        raise CheckFailed("OBE236", f"ONNX Runtime opened `{graph.name}` and wrote no optimized graph")


def _is_large(graph: Path) -> bool:
    """Whether the weights may not fit into one message: they are beside the graph already, or fill it."""
    return graph.stat().st_size >= _MOST_BYTES // 2 or any(graph.parent.glob(f"{graph.name}*data"))


def _list_operators(folder: Path, names: Sequence[str], *, types: bool) -> None:
    """Write which operators a build of ONNX Runtime needs for these graphs, without the path of the folder."""
    from onnxruntime.tools.ort_format_model import create_config_from_models

    place = folder / (OPERATORS_AND_TYPES if types else OPERATORS)
    create_config_from_models([folder / name for name in names], place, types)
    place.write_text(place.read_text(encoding="utf-8").replace(f"{folder}/", ""), encoding="utf-8")
