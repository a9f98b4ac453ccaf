"""Runs what OpenVINO has compiled: a blob, imported with exactly the properties with which it was exported."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage
from onnxbuild.steps.compiling.openvino_backend import is_single, range_of
from onnxbuild.workers.engines.compiled.compiled_model import Call, CompiledModel
from onnxbuild.workers.engines.compiled.fixed_shapes import FixedShapes

# A blob that is imported without its hint of the precision computes in bf16 where the CPU has instructions for it, and
# says nothing (2026.4.1: 0.4 % off, for one of f32). NaN was seen too, on another graph.
REQUIRED = ("INFERENCE_PRECISION_HINT",)


class OpenvinoModel(CompiledModel):
    """The compiled models of one folder, on the CPU, with a known number of threads and without pinning."""

    def __init__(self, folder: Path, record: CompiledRecord, *, threads: int) -> None:
        """Import every blob.

        Errors: CheckFailed OBE233 for another version of OpenVINO, OBE234 for a record without a property.
        """
        check_loadable(record)
        super().__init__(folder, record, threads=threads)

    def open_file(self, path: Path, stage: CompiledStage) -> Call:
        """Import a blob. Errors: CheckFailed OBE232 if OpenVINO does not take it."""
        properties = {**self.record.properties, "INFERENCE_NUM_THREADS": self.threads, "ENABLE_CPU_PINNING": False}
        try:
            compiled = _core().import_model(path.read_bytes(), self.record.device, properties)
        except Exception as error:
            reason = " ".join(str(error).split())[:500]
            raise CheckFailed("OBE232", f"OpenVINO does not load `{path.name}`", notes=[("cause", reason)]) from error
        call = caller(compiled, list(stage.inputs), list(stage.outputs))
        if not self._bounds:
            return call
        fixed = self._static(stage)
        return self._within(fixed.around(call, stage) if fixed.sizes else call, stage)

    @property
    def longest(self) -> int | None:
        """Tokens of the longest row that the bounds of axes allow; None without such a bound."""
        axes = {one.shape[1] for stage in self.record.stages.values() for one in stage.inputs.values() if one.shape[1:]}
        return min((range_of(self._bounds[axis])[1] for axis in axes if axis in self._bounds), default=None)

    def fixed_shapes(self, stage: str) -> FixedShapes | None:
        """The axes of a single size, where there are any."""
        fixed = self._static(self.record.stages[stage])
        return fixed if fixed.sizes else None

    def _static(self, stage: CompiledStage) -> FixedShapes:
        """The axes of a single size, to which samples are filled up."""
        sizes = {str(axis): int(text) for axis, text in self._bounds.items() if is_single(text)}
        named = {axis for one in stage.inputs.values() for axis in one.shape}
        rows = next((one.shape[0] for one in stage.inputs.values() if one.shape), "")
        return FixedShapes({axis: size for axis, size in sizes.items() if axis in named}, str(rows))

    @property
    def _bounds(self) -> Mapping[Any, str]:
        bounds: Mapping[Any, str] = self.record.settings.get("bounds", {})
        return bounds

    def _within(self, call: Call, stage: CompiledStage) -> Call:
        """A call that refuses sizes out of the bounds. Errors of it: CheckFailed OBE251."""

        def checked(feeds: Mapping[str, np.ndarray]) -> Sequence[Any]:
            for name, one in stage.inputs.items():
                for axis, size in zip(one.shape, feeds[name].shape, strict=False):
                    self._check_size(axis, size)
            return call(feeds)

        return checked

    def _check_size(self, axis: int | str, size: int) -> None:
        text = self._bounds.get(axis)
        if text is None or is_single(text):
            return
        least, most = range_of(text)
        if not least <= size <= most:
            message = f"a sample has {size} in `{axis}`, and the variant is compiled for {text}"
            raise CheckFailed("OBE251", message, notes=[("hint", "use other samples, or change `bounds`")])

    def threads_used(self) -> int:
        """Threads that were asked for: OpenVINO reports the same number."""
        return self.threads


def check_loadable(record: CompiledRecord) -> None:
    """Check that the installed OpenVINO loads what the record describes."""
    import openvino

    missing = [name for name in REQUIRED if name not in record.properties]
    if missing:
        message = f"`compiled.json` lacks the property {missing[0]}, without which it computes otherwise"
        raise CheckFailed("OBE234", message, notes=[("hint", "compile it again")])
    if record.compiler.version != openvino.__version__:
        message = f"the blob is of OpenVINO {record.compiler.version}, and {openvino.__version__} is installed"
        raise CheckFailed("OBE233", message, notes=[("hint", "compile it again, or install that version")])


def caller(compiled: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Call:
    """A call of a compiled model, which returns its outputs as views."""
    request = compiled.create_infer_request()
    taken = [one for one in inputs if any(one in port.names for port in compiled.inputs)]
    results = [compiled.output(name) for name in outputs]

    def call(feeds: Mapping[str, np.ndarray]) -> Sequence[Any]:
        request.infer({name: feeds[name] for name in taken}, share_inputs=True, share_outputs=True)
        return [request.get_tensor(one).data for one in results]

    return call


@functools.cache
def _core() -> Any:
    import openvino

    return openvino.Core()
