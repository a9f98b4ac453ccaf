"""compile openvino: each graph becomes IR and a blob, with the properties that loading needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage, CompilerOfRecord
from onnxbuild.steps.compiling.openvino_backend import OPENVINO, OpenvinoParams, is_single
from onnxbuild.steps.kind import JOURNAL
from onnxbuild.workers.compile.openvino import openvino_compiler
from onnxbuild.workers.compile.openvino.openvino_compiler import CALIBRATION, JUDGES, EmptyBlob, Noted, Order, Texts
from onnxbuild.workers.compile.worker import finish, stages_in, write_script
from onnxbuild.workers.engines.compiled.needs_here import absent_here
from onnxbuild.workers.folders.journal import Journal
from onnxbuild.workers.folders.model_files import copy_model_file
from onnxbuild.workers.folders.model_graphs import data_below
from onnxbuild.workers.model_folder.decoders import graphs_to_change

_DEVICE = "CPU"
_SCRIPT = "compile.py"
_WORDS = ("quantize", "calibration", "subject_to", "weights", "group_size", "bounds")  # what `compiled.json` tells


def run(params: OpenvinoParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the IR and the blob of every graph; without OpenVINO or NNCF, the graphs and what compiles them.

    Facts: by file its size, and what a search under `subject_to` has found. Errors: CheckFailed OBE238 for a graph that
    OpenVINO does not compile, OBE59 if a model reads no text, OBE115 and OBE116 for bounds that nothing keeps.
    """
    source, folder = inputs["model"], outputs["model"]
    names = graphs_to_change(source)
    absent = absent_here(OPENVINO.compiler(params))
    record = CompiledRecord(
        backend="openvino",
        state="prepared" if absent else "compiled",
        compiler=CompilerOfRecord(name="openvino"),
        device=_DEVICE,
        stages=stages_in(source, {name: _blob(name) for name in names}),
        properties={"INFERENCE_PRECISION_HINT": params.precision},
        needs=absent,
        settings=_asked(params),
    )
    _check_axes(params.sizes, record.stages)
    if absent is not None:
        record = _prepare(params, inputs, folder, names, record)
        return finish(source, folder, record, files={name: {"bytes": _size(folder, name)} for name in names})
    record, found = _compile_all(params, inputs, folder, names, record, progress, Journal(outputs.get(JOURNAL)))
    files = {name: {"bytes": _size(folder, name), **found[name]} for name in names}
    return finish(source, folder, record, files=files)


def _asked(params: OpenvinoParams) -> dict[str, Any]:
    """What is done to the graphs, as `compiled.json` says it."""
    asked = {name: getattr(params, name) for name in _WORDS}
    return {name: value for name, value in asked.items() if value is not UNSET}


def _blob(name: str) -> str:
    return f"{name.removesuffix('.onnx')}.blob"


def _size(folder: Path, name: str) -> int:
    """The bytes that a user loads: the blob, or the graph that is to be compiled."""
    blob = folder / _blob(name)
    return (blob if blob.is_file() else folder / name).stat().st_size


def _check_axes(bounds: Mapping[str, str], stages: Mapping[str, CompiledStage]) -> None:
    """OBE238 for a name that no input has, and for a single size of an axis that a model runs with several."""
    shapes = [one.shape for stage in stages.values() for one in stage.inputs.values()]
    known = {axis for shape in shapes for axis in shape if isinstance(axis, str)}
    unknown = sorted(bounds.keys() - known)
    if unknown:
        listed = ", ".join(sorted(f"`{one}`" for one in known))
        raise CheckFailed("OBE238", f"no input has an axis `{unknown[0]}`", notes=[("axes", listed or "none is free")])
    rows = {shape[0] for shape in shapes if shape}
    single = sorted(axis for axis, text in bounds.items() if is_single(text) and axis not in rows)
    if single and tuple(stages) != ("forward",):
        message = f"`{single[0]}: {bounds[single[0]]}` has a single size, and the model runs in several stages"
        hint = f"write a range: `{single[0]}: 1..{bounds[single[0]]}`"
        raise CheckFailed("OBE238", message, notes=[("stages", ", ".join(stages)), ("hint", hint)])


def _prepare(
    params: OpenvinoParams, inputs: Mapping[str, Path], folder: Path, names: Sequence[str], record: CompiledRecord
) -> CompiledRecord:
    """Write the graphs, what they are fed while they become integers, and the script that compiles them."""
    for name in (*names, *data_below(inputs["model"])):
        copy_model_file(inputs["model"] / name, folder / name)
    texts = _texts(params, inputs)
    for name in names if params.quantize is not UNSET else ():
        openvino_compiler.keep_feeds(_beside(folder, name, CALIBRATION), texts(name).feeds())
        if params.subject_to is not UNSET:
            openvino_compiler.keep_feeds(_beside(folder, name, JUDGES), texts(name).judges())
    shutil.copyfile(str(openvino_compiler.__file__), folder / _SCRIPT)
    command = ("python", _SCRIPT)
    write_script(folder, command)
    return msgspec.structs.replace(record, compiler=CompilerOfRecord(name="openvino", command=command))


def _beside(folder: Path, name: str, ending: str) -> Path:
    return folder / f"{name.removesuffix('.onnx')}{ending}"


def _texts(params: OpenvinoParams, inputs: Mapping[str, Path]) -> Callable[[str], Texts]:
    """What each graph is fed; a search is judged on other texts than it is calibrated with."""
    if params.quantize is UNSET:
        return lambda _name: Texts(tuple, tuple)
    # ONNX Runtime is needed for nothing else here.
    from onnxbuild.workers.compile.calibration_feeds import calibration_feeds

    feeds = calibration_feeds(params, inputs, part=None if params.subject_to is UNSET else 0, joined=True)
    judges = calibration_feeds(params, inputs, part=1, joined=True)
    return lambda name: Texts(partial(feeds, name), partial(judges, name))


def _compile_all(
    params: OpenvinoParams,
    inputs: Mapping[str, Path],
    folder: Path,
    names: Sequence[str],
    record: CompiledRecord,
    progress: Tell,
    journal: Journal,
) -> tuple[CompiledRecord, dict[str, dict[str, Any]]]:
    """Compile each graph; the record with the version of OpenVINO, and what was found by name of a graph."""
    import openvino

    found, texts = {}, _texts(params, inputs)
    for done, name in enumerate(names):
        progress(f"compiling {name}", done, len(names))
        order = _order(record, _blob(name))
        tell = partial(_tell, progress, name, done, len(names))
        with _calibrating(params):
            noted = partial(_noted, journal, name)
            found[name] = _compile(inputs["model"] / name, folder / name, order, texts(name), tell, noted)
    settings = {"bounds": dict(params.sizes)} if params.bounds else {}  # the rest is done
    compiler = CompilerOfRecord(name="openvino", version=openvino.__version__)
    return msgspec.structs.replace(record, compiler=compiler, settings=settings), found


def _calibrating(params: OpenvinoParams) -> AbstractContextManager[Any]:
    if params.quantize is UNSET:
        return nullcontext()
    from onnxbuild.workers.calibrate.feeds import calibrating

    return calibrating()


def _tell(progress: Tell, name: str, done: int, of: int, what: str) -> None:
    progress(f"{name}: {what}", done, of)


def _noted(journal: Journal, graph: str, name: str, find: Callable[[], Any]) -> Any:
    return journal.noted(f"{graph}: {name}", find)


def _order(record: CompiledRecord, file: str) -> Order:
    stage = next(one for one in record.stages.values() if one.file == file)
    axes = {name: one.shape for name, one in stage.inputs.items()}
    return Order(record.settings, record.properties, record.device, axes, tuple(stage.outputs))


def _compile(graph: Path, place: Path, order: Order, texts: Texts, tell: Any, noted: Noted) -> dict[str, Any]:
    """Compile one graph. Errors: CheckFailed OBE238 with the words of OpenVINO or NNCF, OBE236 for an empty blob."""
    try:
        return openvino_compiler.compile_graph(graph, place, order, texts, tell, noted)
    except EmptyBlob as error:
        raise CheckFailed("OBE236", str(error)) from error
    except CheckFailed:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:500]
        notes = [("cause", f"{type(error).__name__}: {reason}")]
        if "group_size" in reason:
            notes.append(("hint", "write a `group_size` that divides the sizes of the weights, such as 16"))
        raise CheckFailed("OBE238", f"OpenVINO does not compile `{graph.name}`", notes=notes) from error
