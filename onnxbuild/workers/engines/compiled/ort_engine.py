"""Runs what the backend `ort` has optimized: a graph that ONNX Runtime loads as it is, without optimizing it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from onnxbuild.machine import this_machine
from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage
from onnxbuild.workers.engines.compiled.compiled_model import Call, CompiledModel
from onnxbuild.workers.engines.onnxruntime_engine import session_options


class OrtModel(CompiledModel):
    """The sessions of one folder, on the CPU."""

    def __init__(self, folder: Path, record: CompiledRecord, *, threads: int) -> None:
        """Open every graph. Errors: CheckFailed OBE233 for another version, OBE250 for another CPU, OBE234."""
        check_holds_here(record)
        super().__init__(folder, record, threads=threads)

    def open_file(self, path: Path, stage: CompiledStage) -> Call:
        """Load a graph as it is. Errors: CheckFailed OBE232 if ONNX Runtime does not take it."""
        options = session_options(self.threads)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return caller_of(opened(path, options, ["CPUExecutionProvider"]), stage)


def check_holds_here(record: CompiledRecord) -> None:
    """Check that an optimized graph holds for the ONNX Runtime and the CPU of this machine."""
    if "cpu" not in record.settings:
        message = "`compiled.json` does not say for which CPU the graph was optimized"
        raise CheckFailed("OBE234", message, notes=[("hint", "compile it again")])
    check_version(record)
    made_for, here = record.settings["cpu"], this_machine().int8_preset
    if made_for and made_for != here:
        message = f"the graph was optimized for a CPU with {made_for}, and this one has {here}"
        hint = "compile it on such a machine, or write `level: extended`, which holds for all CPUs"
        raise CheckFailed("OBE250", message, notes=[("hint", hint)])


def check_version(record: CompiledRecord) -> None:
    """OBE233 if the installed ONNX Runtime is not the one that has compiled."""
    if record.compiler.version != onnxruntime.__version__:
        message = f"the graph is of ONNX Runtime {record.compiler.version}, and {onnxruntime.__version__} is installed"
        raise CheckFailed("OBE233", message, notes=[("hint", "compile it again, or install that version")])


def opened(path: Path, options: Any, providers: Sequence[Any]) -> onnxruntime.InferenceSession:
    """A session with a compiled graph. Errors: CheckFailed OBE232 if ONNX Runtime does not take it."""
    try:
        return onnxruntime.InferenceSession(str(path), options, **({"providers": list(providers)} if providers else {}))
    except Exception as error:
        reason = " ".join(str(error).split())[:500]
        raise CheckFailed("OBE232", f"ONNX Runtime does not load `{path.name}`", notes=[("cause", reason)]) from error


def caller_of(session: onnxruntime.InferenceSession, stage: CompiledStage) -> Call:
    """A call of a session with exactly the inputs that its graph has kept."""
    taken, results = [one.name for one in session.get_inputs()], list(stage.outputs)

    def call(feeds: Mapping[str, np.ndarray]) -> Sequence[Any]:
        values: Sequence[Any] = session.run(results, {name: feeds[name] for name in taken})
        return values

    return call
