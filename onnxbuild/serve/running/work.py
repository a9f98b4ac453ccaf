"""What a process of a model has to do: a batch of items, or a prompt to continue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from onnxbuild.serve.failed_requests import failed, wrong
from onnxbuild.serve.running.waiting import Place
from onnxbuild.serve.wire import Batch, FromModel, Item, Piece, Prompt, Refusal, Rows, Sampling, ToModel


class Work(Protocol):
    """One frame to a process, and what becomes of the frames that answer it."""

    def frame(self, number: int) -> ToModel:
        """The work under a number."""

    def take(self, frame: FromModel) -> bool:
        """Take a frame; whether it was the last one."""

    def fail(self, error: Exception) -> None:
        """End without an answer."""


class BatchWork:
    """Items that run together."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places

    def frame(self, number: int) -> ToModel:
        """The items as one batch."""
        items: tuple[Item, ...] = tuple(request.items[item] for request, item in self._places)
        return Batch(number, self._places[0][0].ability, items)

    def take(self, frame: FromModel) -> bool:
        """Give every item its answer."""
        if isinstance(frame, Rows):
            for (request, number), row in zip(self._places, frame.rows, strict=True):
                request.fill(number, row)
        elif isinstance(frame, Refusal):
            self.fail(error_of(frame))
        return True

    def fail(self, error: Exception) -> None:
        """End every request that has an item here."""
        for request, _ in self._places:
            request.fail(error)


class PromptWork:
    """A completion; its pieces wait in a queue until the request takes them."""

    def __init__(self, text: str, messages: tuple[dict[str, str], ...], sampling: Sampling) -> None:
        self._text, self._messages, self._sampling = text, messages, sampling
        self._pieces: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        self.is_over = False

    def frame(self, number: int) -> ToModel:
        """The prompt."""
        return Prompt(number, self._sampling, self._text, self._messages)

    def take(self, frame: FromModel) -> bool:
        """Keep a piece for the request."""
        if isinstance(frame, Refusal):
            self.fail(error_of(frame))
        elif isinstance(frame, Piece):
            self._pieces.put_nowait(frame)
            self.is_over = bool(frame.ended)
        return self.is_over

    def fail(self, error: Exception) -> None:
        """End with an error, after the pieces that came."""
        self.is_over = True
        self._pieces.put_nowait(error)

    async def next_piece(self) -> Piece:
        """The next piece. Errors: RequestError."""
        piece = await self._pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece


def error_of(refusal: Refusal) -> Exception:
    """The answer to a request that a model refuses."""
    return failed(refusal.message) if refusal.is_fault else wrong(refusal.message)
