"""Runs a context binary of Qualcomm's HTP: on the device, or in the emulator that comes for x86."""

from __future__ import annotations

from pathlib import Path

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.backend_kind import Place
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage
from onnxbuild.steps.compiling.qnn_backend import QNN_DISTRIBUTION
from onnxbuild.tables.runtimes.further_needs import is_x86
from onnxbuild.workers.engines.compiled.compiled_model import Call, CompiledModel
from onnxbuild.workers.engines.compiled.fixed_shapes import FixedShapes
from onnxbuild.workers.engines.compiled.needs_here import version_here
from onnxbuild.workers.engines.compiled.ort_engine import caller_of, opened
from onnxbuild.workers.engines.compiled.plugin_providers import plugin_devices
from onnxbuild.workers.engines.onnxruntime_engine import session_options

_NAME, _MODULE = "QNNExecutionProvider", "onnxruntime_qnn"


class QnnModel(CompiledModel):
    """The context of one folder, which takes samples up to its shape."""

    def __init__(self, folder: Path, record: CompiledRecord, *, threads: int) -> None:
        """Load the context. Errors: CheckFailed OBE233 for another version, OBE234 for a record without its shape."""
        _check(record)
        self.shapes = FixedShapes(record.settings["sizes"], record.settings["rows"])
        super().__init__(folder, record, threads=threads)

    def open_file(self, path: Path, stage: CompiledStage) -> Call:
        """Load a context. Errors: CheckFailed OBE232 if the runtime does not take it, OBE43 if it does not start."""
        options = session_options(self.threads)
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.add_provider_for_devices(
            plugin_devices(_NAME, _MODULE), {**self.record.properties, "backend_path": _htp()}
        )
        return self.shapes.around(caller_of(opened(path, options, []), stage), stage)

    def fixed_shapes(self, stage: str) -> FixedShapes:  # noqa: ARG002 - there is one stage
        """The sizes of the context."""
        return self.shapes

    @classmethod
    def place_here(cls, record: CompiledRecord) -> Place:  # noqa: ARG003
        """The emulator on x86, else the device."""
        return "emulator" if is_x86() else "device"

    @property
    def longest(self) -> int | None:
        """Tokens of the longest row that it takes."""
        return self.shapes.longest


def _check(record: CompiledRecord) -> None:
    missing = next((name for name in ("sizes", "rows") if name not in record.settings), None)
    if missing is not None:
        message = f"`compiled.json` lacks `{missing}`, without which the context cannot be fed"
        raise CheckFailed("OBE234", message, notes=[("hint", "compile it again")])
    here = version_here(QNN_DISTRIBUTION)
    if record.compiler.version != here:
        message = f"the context is of {QNN_DISTRIBUTION} {record.compiler.version}, and {here} is installed"
        raise CheckFailed("OBE233", message, notes=[("hint", "compile it again, or install that version")])


def _htp() -> str:
    import onnxruntime_qnn

    return str(onnxruntime_qnn.get_qnn_htp_path())
