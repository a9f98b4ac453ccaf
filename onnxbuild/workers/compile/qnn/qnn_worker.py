"""compile qnn: one shape, integers with ranges from text, and the context binary of Qualcomm's compiler."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx
from msgspec import UNSET

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage, CompilerOfRecord
from onnxbuild.steps.compiling.qnn_backend import QNN_DISTRIBUTION, QnnParams
from onnxbuild.tables.runtimes.runtime_limits import QNN_OPERATORS
from onnxbuild.workers.compile.calibration_feeds import calibration_feeds
from onnxbuild.workers.compile.fixed_graphs import sizes_of, with_sizes, with_small_masks
from onnxbuild.workers.compile.integer_graphs import Feeds, integers_of_htp
from onnxbuild.workers.compile.worker import finish, run_compiler, stages_in, write_script
from onnxbuild.workers.engines.compiled.fixed_shapes import FixedShapes
from onnxbuild.workers.engines.compiled.needs_here import absent_here, version_here
from onnxbuild.workers.folders.model_files import onnx_names

QUANTIZED = "model.qdq.onnx"
CONTEXT = "model_ctx.onnx"
BINARY = "model_ctx_qnn.bin"
COMPILER = "compile_context.py"


def run(params: QnnParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the context binary, or without the compiler everything that it is handed.

    Errors: CheckFailed OBE252 for an operator that the HTP lacks, OBE238 for several graphs, OBE235 to OBE237.
    """
    source, folder = inputs["model"], outputs["model"]
    name = _only_graph(source)
    model = onnx.load(source / name)
    shapes = FixedShapes(sizes_of(model, batch=params.batch, sequence=params.sequence), _rows_of(model))
    stages = stages_in(source, {name: CONTEXT})
    progress("quantizing")
    read = _quantize(params, inputs, name, model, shapes, next(iter(stages.values())), folder / QUANTIZED)
    _check_operators(folder / QUANTIZED)
    absent = absent_here((QNN_DISTRIBUTION,))
    options = _options(params)
    command = ("python", COMPILER, QUANTIZED, CONTEXT, *(f"{key}={value}" for key, value in options.items()))
    shutil.copyfile(Path(__file__).with_name(COMPILER), folder / COMPILER)
    write_script(folder, command)
    if absent is None:
        progress("compiling")
        run_compiler((*_this_python(), *command[1:]), folder, makes=(CONTEXT, BINARY), environment=_same_modules())
        (folder / QUANTIZED).unlink()
    record = CompiledRecord(
        backend="qnn",
        state="prepared" if absent else "compiled",
        compiler=CompilerOfRecord(name=QNN_DISTRIBUTION, version=version_here(QNN_DISTRIBUTION), command=command),
        device="HTP",
        stages=stages,
        properties=options,
        needs=absent,
        settings={"sizes": dict(shapes.sizes), "rows": shapes.rows},
    )
    return finish(source, folder, record, precision=params.precision, samples=read, shape=dict(shapes.sizes))


def _this_python() -> tuple[str, ...]:
    return (sys.executable,)


def _same_modules() -> dict[str, str]:
    """The environment of a Python that imports what this one does."""
    return {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)}


def _only_graph(source: Path) -> str:
    names = onnx_names(source)
    if len(names) != 1:
        message = f"`qnn` compiles one graph, and the folder has {', '.join(names)}"
        raise CheckFailed(
            "OBE238", message, notes=[("hint", "compile an encoder, such as a classifier or an embedder")]
        )
    return names[0]


def _rows_of(model: onnx.ModelProto) -> str:
    return str(model.graph.input[0].type.tensor_type.shape.dim[0].dim_param)


def _options(params: QnnParams) -> dict[str, str]:
    """The options of the provider, in the words of its documentation."""
    given = {
        "soc_model": params.soc_model,
        "htp_arch": params.htp_arch,
        "htp_graph_finalization_optimization_mode": params.optimization,
    }
    return {name: str(value) for name, value in given.items() if value is not UNSET}


def _quantize(
    params: QnnParams,
    inputs: Mapping[str, Path],
    name: str,
    model: onnx.ModelProto,
    shapes: FixedShapes,
    stage: CompiledStage,
    place: Path,
) -> int:
    """Write the integer graph of one shape; the number of samples that its ranges are from."""
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        fixed = Path(scratch) / "fixed.onnx"
        onnx.save(with_small_masks(with_sizes(model, shapes.sizes)), fixed)
        feeds = _of_one_shape(calibration_feeds(params, inputs)(name), shapes, stage)
        return integers_of_htp(fixed, place, feeds, precision=params.precision)


def _of_one_shape(feeds: Iterable[Feeds], shapes: FixedShapes, stage: CompiledStage) -> Iterable[Feeds]:
    taken = {name: one.shape for name, one in stage.inputs.items()}
    return (shapes.padded(fed, taken) for fed in feeds)


def _check_operators(graph: Path) -> None:
    """OBE252 for operators that the HTP lacks: the compiler leaves nothing to the CPU."""
    nodes = onnx.load(graph, load_external_data=False).graph.node
    absent = Counter(node.op_type for node in nodes if node.op_type not in QNN_OPERATORS)
    if absent:
        raise CheckFailed("OBE252", f"the HTP has no operator for {_listed(absent)}", notes=[("hint", _HINT)])


_HINT = "another exporter or opset may write other operators; `optimize:` before it adds some that the HTP lacks"


def _listed(counts: Mapping[str, int]) -> str:
    names: Sequence[str] = [f"{count} × {name}" for name, count in sorted(counts.items())]
    return ", ".join(names)
