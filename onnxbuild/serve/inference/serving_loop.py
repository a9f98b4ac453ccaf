"""The loop of a model's process: frames in, frames out."""

from __future__ import annotations

import sys
import traceback
from typing import BinaryIO

from onnxbuild.serve.inference.opened_model import Model
from onnxbuild.serve.wire import TO_MODEL, Batch, FromModel, Refusal, Rows, framed, read_frame


def serve_frames(model: Model, incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer every frame until the stream ends."""
    while (content := read_frame(incoming)) is not None:
        frame = TO_MODEL.decode(content)
        if isinstance(frame, Batch):
            write_frame(outgoing, rows_of(model, frame))


def rows_of(model: Model, batch: Batch) -> FromModel:
    """The answer to a batch; what goes wrong is its fault alone."""
    try:
        return Rows(batch.id, tuple(model.answer(batch.ability, batch.items)))
    except Exception as error:  # noqa: BLE001 - the process has other requests to answer
        traceback.print_exc(file=sys.stderr)
        return Refusal(batch.id, f"the model failed: {type(error).__name__}", is_fault=True)


def write_frame(outgoing: BinaryIO, frame: FromModel) -> None:
    """Write a whole frame: a pipe may take less than it is given."""
    content = memoryview(framed(frame))
    while content:
        content = content[outgoing.write(content) :]
