"""What stands before every address: keys, the access log, metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onnxbuild.serve.failed_requests import RequestError
from onnxbuild.serve.web.api_keys import OPEN, is_allowed
from onnxbuild.serve.web.error_responses import error_response
from onnxbuild.serve.web.server_metrics import ServerMetrics

_ACCESS = logging.getLogger("onnxbuild.serve.access")


class Gate:
    """An ASGI application around another. The log has neither bodies nor headers, and no query of an address."""

    def __init__(self, inner: ASGIApp, keys: Sequence[str], metrics: ServerMetrics, known: Collection[str]) -> None:
        self._inner, self._keys, self._metrics, self._known = inner, keys, metrics, frozenset(known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._answer(scope, receive, noted)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._keys and scope["path"] not in OPEN and not is_allowed(scope["headers"], self._keys):
            error = RequestError(HTTPStatus.UNAUTHORIZED, "the API key is missing or wrong", code="invalid_api_key")
            await error_response(error)(scope, receive, send)
        else:
            await self._inner(scope, receive, send)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        address = self._address(scope)
        self._metrics.request(address, status, seconds)
        _ACCESS.info("%s %s %s %.1f ms", scope["method"], address, status, 1e3 * seconds)

    def _address(self, scope: Scope) -> str:
        """The path if it is one of ours: others are text of a stranger, which neither a log nor a label repeats."""
        return scope["path"] if scope["path"] in self._known else "(unknown)"
