"""A session of a card: it runs a compiled program with the runtime of the Cloud AI SDK.

The calls, their order and their arguments are those of `QAICInferenceSession` in Efficient Transformers 1.23. No card
was in reach when this was written: it was run with a stand-in for the SDK's modules.

A run gets one buffer for each input and output. The cache gets an empty one each time: it stays on the card.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.compile.qaic.card.sdk_modules import SdkModules
from onnxbuild.workers.compile.qaic.card_program import STATE, read_specializations

DEVICE = "Cloud AI 100"

# The types of the SDK by the names of its constants, as Efficient Transformers maps them.
_TYPES: Mapping[str, type] = {
    "FLOAT_TYPE": np.float32, "FLOAT_16_TYPE": np.float16, "INT8_Q_TYPE": np.int8, "UINT8_Q_TYPE": np.uint8,
    "INT16_Q_TYPE": np.int16, "INT32_Q_TYPE": np.int32, "INT32_I_TYPE": np.int32, "INT64_I_TYPE": np.int64,
    "INT8_TYPE": np.int8,
}  # fmt: skip


class _Binding(Struct, frozen=True):
    """An input or output of the program; `kept`: a part of the cache."""

    name: str
    index: int
    is_input: bool
    type: np.dtype[Any]
    kept: bool


class CardSession:
    """A program on a card with `run(feeds)`, as the host double has it: the cache is in neither feeds nor outputs."""

    device = DEVICE

    def __init__(self, program: Path, settings: Path, sdk: SdkModules, *, devices: int = 1) -> None:
        """Load the program in the folder `program`, and activate it. Errors: CheckFailed OBE243."""
        self._sdk, runtime = sdk, sdk.runtime
        self.specializations = read_specializations(settings)
        ids = list(range(devices)) if devices > 1 else None  # one device: the runtime chooses it
        self._context = runtime.Context() if ids is None else runtime.Context(runtime.QIDList(ids))
        self._queue = runtime.Queue(self._context, 0)
        qpc = runtime.Qpc(str(program))
        description = sdk.api.IoDesc()
        description.ParseFromString(bytes(self._checked("read the description of the program", *qpc.getIoDescriptor())))
        self._read(description)
        properties = runtime.QAicProgramProperties()
        if ids is not None:
            properties.devMapping = ":".join(map(str, ids))
        self._program = runtime.Program(self._context, None, qpc, properties)
        self._checked("load the program", self._program.load())
        self._program.activate()
        self._execution = runtime.ExecObj(self._context, self._program)

    def __del__(self) -> None:
        """Free the cores of the card for the next action: a worker outlives its actions."""
        if hasattr(self, "_execution"):
            del self._execution
            self._program.deactivate()

    @property
    def input_names(self) -> tuple[str, ...]:
        """What a run has to be given."""
        return tuple(one.name for one in self._bindings if one.is_input and not one.kept)

    def renew(self) -> None:
        """The cache stays: positions hide what an earlier text has left in it."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the program. Errors: CheckFailed OBE241 for inputs it is not compiled for, OBE243 if the card fails."""
        shapes = self._shapes_for(feeds)
        buffers, sizes = [], []
        for one in self._bindings:
            shape = [0] if one.kept else shapes[one.index]
            data = b"" if one.kept else self._data(one, feeds, shape)
            buffers.append(self._sdk.runtime.QBuffer(data))
            sizes.append((one.type.itemsize, list(shape)))
        dimensions = self._sdk.runtime.BufferDimensionsVecRef(sizes)
        self._checked("take the inputs", self._execution.setData(buffers, dimensions))
        self._checked("start a run", self._queue.enqueue(self._execution))
        self._checked("run the program", self._execution.waitForCompletion())
        results = self._checked("return the outputs", *self._execution.getData())
        outputs = (one for one in self._bindings if not one.is_input and not one.kept)
        return {
            one.name: np.frombuffer(bytes(results[one.index]), one.type).reshape(shapes[one.index]) for one in outputs
        }

    def _read(self, description: Any) -> None:
        """Keep what the program says: its bindings by their index, and every set of shapes that it takes."""
        api = self._sdk.api
        types = {getattr(api, name): np.dtype(kind) for name, kind in _TYPES.items()}
        found = sorted(description.selected_set.bindings, key=lambda one: one.index)
        self._bindings = [
            _Binding(
                one.name,
                one.index,
                one.dir == api.BUFFER_IO_TYPE_INPUT,
                types[one.type],
                one.name.startswith("past_") or one.name.endswith(STATE),
            )
            for one in found
        ]
        allowed = [[list(shape.dims) for shape in one.shapes] for one in description.allowed_shapes]
        self._allowed = allowed or [[list(one.dims) for one in found]]

    def _shapes_for(self, feeds: Mapping[str, np.ndarray]) -> Sequence[Sequence[int]]:
        """The set of shapes that the feeds have, by the index of each binding."""
        if set(feeds) != set(self.input_names):
            message = f"the program takes {', '.join(self.input_names)}, and was given {', '.join(feeds) or 'nothing'}"
            raise CheckFailed("OBE241", message)
        given = {one.index: list(feeds[one.name].shape) for one in self._bindings if one.name in feeds}
        for shapes in self._allowed:
            if all(shapes[index] == shape for index, shape in given.items()):
                return shapes
        shown = {name: value.shape for name, value in feeds.items()}
        raise CheckFailed("OBE241", f"no specialization has the shapes {shown}")

    def _data(self, one: _Binding, feeds: Mapping[str, np.ndarray], shape: Sequence[int]) -> bytes:
        if not one.is_input:
            return bytes(math.prod(shape) * one.type.itemsize)
        data: bytes = np.ascontiguousarray(feeds[one.name], one.type).tobytes()
        return data

    def _checked(self, what: str, status: Any, result: Any = None) -> Any:
        """The result of a call of the runtime that has succeeded."""
        if status != self._sdk.runtime.QStatus.QS_SUCCESS:
            hint = "`qaic-util -q` shows whether the card is ready; the program must fit its cores and memory"
            raise CheckFailed("OBE243", f"the card could not {what}: {status}", notes=[("hint", hint)])
        return result
