"""The loop of a model's process: frames in, frames out. Completions take turns, one token each."""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import BinaryIO

from onnxbuild.serve.inference.encoder_model import EncoderModel
from onnxbuild.serve.inference.generating.decoder_model import DecoderModel
from onnxbuild.serve.inference.opened_model import Model
from onnxbuild.serve.wire import (
    TO_MODEL,
    Batch,
    Cancel,
    FromModel,
    Piece,
    Prompt,
    Refusal,
    Rows,
    ToModel,
    framed,
    read_frame,
)  # fmt: skip

Inbox = queue.SimpleQueue[ToModel | None]


def serve_frames(model: Model, incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Answer every frame until the stream ends."""
    inbox: Inbox = queue.SimpleQueue()
    threading.Thread(target=_read, args=(incoming, inbox), daemon=True).start()
    desk = _Desk(model, lambda frame: _write(outgoing, frame))
    while desk.take(inbox):
        desk.step()


def _read(incoming: BinaryIO, inbox: Inbox) -> None:
    while (content := read_frame(incoming)) is not None:
        inbox.put(TO_MODEL.decode(content))
    inbox.put(None)


def _write(outgoing: BinaryIO, frame: FromModel) -> None:
    """Write a whole frame: a pipe may take less than it is given."""
    content = memoryview(framed(frame))
    while content:
        content = content[outgoing.write(content) :]


class _Desk:
    """The completions that are being written."""

    def __init__(self, model: Model, write: Callable[[FromModel], None]) -> None:
        self._model, self._write = model, write
        self._active: dict[int, Iterator[Piece | Refusal]] = {}

    def take(self, inbox: Inbox) -> bool:
        """Take every frame that has come, and wait for one if there is nothing else to do; False at the end."""
        wait = not self._active
        while True:
            try:
                frame = inbox.get(block=wait)
            except queue.Empty:
                return True
            if frame is None:
                return False
            self._begin(frame)
            wait = False

    def _begin(self, frame: ToModel) -> None:
        if isinstance(frame, Cancel):
            self._active.pop(frame.id, None)
        elif isinstance(frame, Prompt):
            assert isinstance(self._model, DecoderModel), "BUG: the server knows what the model can do"
            self._active[frame.id] = self._model.pieces(frame)
        else:
            self._write(self._guarded(frame.id, lambda: self._rows(frame)))

    def step(self) -> None:
        """One token for every completion."""
        for number, pieces in list(self._active.items()):
            piece = self._guarded(number, pieces.__next__)
            if not isinstance(piece, Piece) or piece.ended:
                del self._active[number]
            if not isinstance(piece, Piece) or piece.ended or piece.text:
                self._write(piece)

    def _rows(self, batch: Batch) -> Rows:
        assert isinstance(self._model, EncoderModel), "BUG: the server knows what the model can do"
        return Rows(batch.id, tuple(self._model.answer(batch.ability, batch.items)))

    def _guarded(self, number: int, compute: Callable[[], FromModel]) -> FromModel:
        """What goes wrong is one request's fault alone: the process has others to answer."""
        try:
            return compute()
        except Exception as error:  # noqa: BLE001 - whatever ONNX Runtime or a tokenizer raises
            traceback.print_exc(file=sys.stderr)
            return Refusal(number, f"the model failed: {type(error).__name__}", is_fault=True)
