"""An ONNX Runtime session with the settings that `tune` recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError
from onnxbuild.tables.sessions.session_settings import SESSION_FILE, SETTINGS

TYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}
_ERRORS_ONLY = 3
_VALUES = [value for setting in SETTINGS.values() for value in setting.values.values()]
_TUNED = frozenset({"intra_op_num_threads", *(name for one in _VALUES for name in (*one.options, *one.entries))})

Arrays = Mapping[str, np.ndarray]


class GraphSession:
    """One graph on the CPU: its inputs with their types, and its outputs."""

    def __init__(self, folder: ModelFolder, threads: int | None) -> None:
        try:
            options = _options(folder.json(SESSION_FILE), threads)
            self._session = onnxruntime.InferenceSession(
                str(folder.graph()), options, providers=["CPUExecutionProvider"]
            )
        except UnusableModelError:
            raise
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises classes of its own
            raise UnusableModelError(f"ONNX Runtime cannot open the graph: {error}") from None
        self.inputs = {one.name: one for one in self._session.get_inputs()}
        self.outputs = {one.name: one for one in self._session.get_outputs()}

    def type_of(self, name: str) -> Any:
        """The NumPy type of an input."""
        return TYPES.get(self.inputs[name].type, np.float32)

    def run(self, outputs: list[str], feeds: Arrays) -> list[np.ndarray]:
        """The outputs for feeds that have the types of the inputs."""
        found: list[np.ndarray] = self._session.run(outputs, feeds)
        return found


def _options(tuned: Mapping[str, Any], threads: int | None) -> onnxruntime.SessionOptions:
    """What `tune` recorded. A folder may be somebody else's, so nothing else is set. Errors: UnusableModelError."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    attributes, entries = tuned.get("options") or {}, tuned.get("config_entries") or {}
    if unknown := [name for name in (*attributes, *entries) if name not in _TUNED]:
        raise UnusableModelError(f"`{SESSION_FILE}` sets `{unknown[0]}`, which `tune` never sets")
    for name, value in attributes.items():
        setattr(options, name, type(getattr(options, name))(value))
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    if threads is not None:
        options.intra_op_num_threads = threads
    return options
