"""Why a request gets no answer, with the status that HTTP has for it."""

from __future__ import annotations

from http import HTTPStatus


class RequestError(Exception):
    """A request that is not answered. `param`: the field of the body that is wrong."""

    def __init__(
        self, status: HTTPStatus, message: str, *, code: str, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after
        self.message = message


def wrong(message: str, param: str | None = None, code: str = "invalid_value") -> RequestError:
    """The request asks for what this server or this model does not do."""
    return RequestError(HTTPStatus.BAD_REQUEST, message, code=code, param=param)


def too_many(message: str) -> RequestError:
    """The queue is full."""
    return RequestError(HTTPStatus.TOO_MANY_REQUESTS, message, code="queue_full", retry_after=1)


def lost() -> RequestError:
    """The process that had the request ended."""
    message = "the process that computed this answer ended; send the request again"
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message, code="worker_lost", retry_after=1)


def too_late(seconds: float) -> RequestError:
    """No answer came in time."""
    message = f"no answer came within {seconds:g} seconds"
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, message, code="timeout", retry_after=1)


def failed(message: str) -> RequestError:
    """The model failed for this request."""
    return RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, message, code="model_failed")
