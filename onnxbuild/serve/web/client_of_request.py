"""Whether the client of a request is still there."""

from __future__ import annotations

from starlette.requests import Request


class ClientLeftError(Exception):
    """Nobody waits for the answer any more."""


async def has_left(request: Request) -> None:
    """Wait until the client has closed the connection; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
