"""Errors as JSON in OpenAI's shape, whatever was asked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from onnxbuild.serve.failed_requests import RequestError
from onnxbuild.serve.web.client_of_request import ClientLeftError

_LOG = logging.getLogger("onnxbuild.serve")
_CLIENT_LEFT = 499  # nginx's number; nobody receives it
_KINDS = {HTTPStatus.UNAUTHORIZED: "authentication_error", HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error"}


def response_for(error: Exception) -> Response:
    """The answer to a request that failed."""
    if isinstance(error, RequestError):
        return error_response(error)
    if isinstance(error, ClientLeftError):
        return Response(status_code=_CLIENT_LEFT)
    _LOG.error("a request failed", exc_info=error)
    message = "the server failed; its log says why"
    return error_response(RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, message, code="internal"))


def error_response(error: RequestError) -> Response:
    """An error with the headers that its status has."""
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers["connection"] = "close"  # the rest of the body is not read
    return Response(msgspec.json.encode(error_body(error)), error.status, headers, "application/json")


def error_body(error: RequestError) -> Mapping[str, Mapping[str, str | None]]:
    """What OpenAI's clients expect of an error."""
    usual = "invalid_request_error" if error.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    kind = _KINDS.get(error.status, usual)
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


async def no_such_address(_request: Request, error: Exception) -> Response:
    """An address or a method that does not exist."""
    assert isinstance(error, HTTPException), "BUG: registered for this class"
    status = HTTPStatus(error.status_code)
    allowed = (error.headers or {}).get("Allow")
    way_out = f"use {allowed}" if allowed else "`/openapi.json` lists the addresses"
    return error_response(RequestError(status, f"{status.phrase.lower()}: {way_out}", code="unknown_address"))
