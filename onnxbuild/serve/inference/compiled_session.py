"""Variants that are compiled here, opened as their `compiled.json` says: `ort` with ONNX Runtime, and `openvino`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from msgspec import Struct

from onnxbuild.machine import this_machine
from onnxbuild.serve.inference.graph_session import TYPES, Arrays, GraphSession
from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError

RECORD = "compiled.json"

# Computes the outputs of these names.
_Run = Callable[[Sequence[str], Arrays], list[np.ndarray]]


class _Port(Struct, frozen=True):
    """An input: its type as ONNX Runtime writes it, and its dimensions, with names where they vary."""

    type: str
    shape: tuple[int | str, ...]


class _Output(Struct, frozen=True):
    shape: tuple[int | str, ...]


class CompiledSession:
    """One compiled graph: its inputs and outputs are those of the graph that was compiled."""

    def __init__(self, folder: ModelFolder, threads: int | None) -> None:
        """Open the one file. Errors: UnusableModelError, also where another version has compiled it."""
        record = folder.json(RECORD)
        try:
            stages = list(record["stages"].values())
            self.inputs = {name: _Port(one["type"], tuple(one["shape"])) for name, one in stages[0]["inputs"].items()}
            self.outputs = {name: _Output(tuple(shape)) for name, shape in stages[0]["outputs"].items()}
            open_file = _OPENED[record["backend"]]
            files = {stage["file"] for stage in stages}
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise UnusableModelError(f"`{RECORD}` does not say how it is loaded: {error}") from None
        if len(files) != 1:
            raise UnusableModelError(f"the server runs models of one graph, and this folder has {len(files)}")
        self._run: _Run = open_file(folder.path / files.pop(), record, threads)

    def type_of(self, name: str) -> Any:
        """The NumPy type of an input."""
        return TYPES.get(self.inputs[name].type, np.float32)

    def run(self, outputs: list[str], feeds: Arrays) -> list[np.ndarray]:
        """The outputs for feeds that have the types of the inputs."""
        return self._run(outputs, feeds)


def opened_session(folder: ModelFolder, threads: int | None) -> GraphSession | CompiledSession:
    """What runs the graph of a folder. Errors: UnusableModelError."""
    is_compiled = (folder.path / RECORD).is_file()
    return CompiledSession(folder, threads) if is_compiled else GraphSession(folder, threads)


def _opened_by_onnxruntime(path: Path, record: Mapping[str, Any], threads: int | None) -> _Run:
    """A graph that ONNX Runtime has optimized already, for a kind of CPU."""
    _check_version(record, onnxruntime.__version__, "ONNX Runtime")
    made_for, here = record.get("settings", {}).get("cpu"), this_machine().int8_preset
    if made_for and made_for != here:
        raise UnusableModelError(f"the graph was optimized for a CPU with {made_for}, and this one has {here}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads or 0
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises classes of its own
        raise UnusableModelError(f"ONNX Runtime cannot open `{path.name}`: {error}") from None
    taken = {one.name for one in session.get_inputs()}
    return lambda outputs, feeds: session.run(outputs, {name: feeds[name] for name in taken})


def _opened_by_openvino(path: Path, record: Mapping[str, Any], threads: int | None) -> _Run:
    """A blob of OpenVINO, imported with exactly the properties with which it was exported."""
    try:
        import openvino
    except ImportError:
        message = 'it is compiled for OpenVINO, which is not installed: `pip install "onnxbuild[openvino]"`'
        raise UnusableModelError(message) from None
    _check_version(record, openvino.__version__, "OpenVINO")
    if bounds := record.get("settings", {}).get("bounds"):
        raise UnusableModelError(
            f"its sizes are bounded ({bounds}), and those of requests vary: compile without `bounds`"
        )
    own = {"ENABLE_CPU_PINNING": False, **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
    try:
        properties = {**record["properties"], **own}
        compiled = openvino.Core().import_model(path.read_bytes(), record["device"], properties)
    except Exception as error:  # noqa: BLE001 - OpenVINO raises RuntimeError, and a record may lack a key
        raise UnusableModelError(f"OpenVINO cannot import `{path.name}`: {' '.join(str(error).split())}") from None
    taken = {name for port in compiled.inputs for name in port.names}
    request = compiled.create_infer_request()

    def run(outputs: Sequence[str], feeds: Arrays) -> list[np.ndarray]:
        request.infer({name: feeds[name] for name in taken & feeds.keys()})
        # The next call overwrites the tensors.
        return [np.array(request.get_tensor(compiled.output(name)).data) for name in outputs]

    return run


def _check_version(record: Mapping[str, Any], here: str, runtime: str) -> None:
    version = (record.get("compiler") or {}).get("version")
    if version != here:
        message = f"it was compiled with {runtime} {version}, and {here} is installed: compile it again"
        raise UnusableModelError(message)


_OPENED: Mapping[str, Callable[[Path, Mapping[str, Any], int | None], _Run]] = {
    "ort": _opened_by_onnxruntime,
    "openvino": _opened_by_openvino,
}
