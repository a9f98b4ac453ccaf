"""The pieces of a completion, for as long as somebody reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request

from onnxbuild.serve.failed_requests import too_late
from onnxbuild.serve.running.crew_of_model import Crew
from onnxbuild.serve.running.work import PromptWork
from onnxbuild.serve.web.client_of_request import ClientLeftError, has_left
from onnxbuild.serve.wire import Piece


class Written:
    """A completion of one request. It is cancelled as soon as its client has left, or its reader stops."""

    def __init__(self, patience: float, request: Request, crew: Crew, work: PromptWork) -> None:
        self._patience, self._request, self._crew, self._work = patience, request, crew, work

    async def whole(self) -> tuple[str, Piece]:
        """The text, and the last piece. Errors: RequestError; ClientLeftError."""
        self._crew.write(self._work)
        left = asyncio.ensure_future(has_left(self._request))
        texts: list[str] = []
        try:
            while True:
                piece = await self._next(left)
                texts.append(piece.text)
                if piece.ended:
                    return "".join(texts), piece
        finally:
            left.cancel()
            self._crew.cancel(self._work)

    async def pieces(self) -> AsyncIterator[Piece]:
        """The pieces as they come, once the first one is there. Errors: RequestError if the prompt is refused."""
        self._crew.write(self._work)
        left = asyncio.ensure_future(has_left(self._request))
        try:
            first = await self._next(left)
        except BaseException:
            self._crew.cancel(self._work)
            raise
        finally:
            left.cancel()
        return self._from(first)

    async def _from(self, piece: Piece) -> AsyncIterator[Piece]:
        # The response that reads this notices itself when its client leaves, and closes this generator.
        try:
            yield piece
            while not piece.ended:
                piece = await self._next(None)
                yield piece
        finally:
            self._crew.cancel(self._work)

    async def _next(self, left: asyncio.Future[None] | None) -> Piece:
        """The next piece. Errors: RequestError, also if it does not come in time; ClientLeftError."""
        coming = asyncio.ensure_future(self._work.next_piece())
        try:
            awaited: set[asyncio.Future[Any]] = {coming} if left is None else {coming, left}
            await asyncio.wait(awaited, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                return coming.result()
            raise ClientLeftError if left is not None and left.done() else too_late(self._patience)
        finally:
            coming.cancel()
