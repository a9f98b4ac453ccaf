"""The FastAPI application: every address, and the page that describes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from onnxbuild.serve.limits_of_server import ServerOptions
from onnxbuild.serve.running.served_model import ServedModels
from onnxbuild.serve.web import encoder_addresses, writing_addresses
from onnxbuild.serve.web.api_description import described
from onnxbuild.serve.web.error_responses import no_such_address, response_for
from onnxbuild.serve.web.gate import Gate
from onnxbuild.serve.web.request_context import Context
from onnxbuild.serve.web.server_metrics import ServerMetrics
from onnxbuild.version import __version__

Handler = Callable[[Context, Request], Awaitable[Any]]

_POSTS: dict[str, Handler] = {
    "/v1/embeddings": encoder_addresses.embeddings,
    "/v1/rerank": encoder_addresses.rerank,
    "/classify": encoder_addresses.classify,
    "/token-classify": encoder_addresses.token_classify,
    "/v1/completions": writing_addresses.completions,
    "/v1/chat/completions": writing_addresses.chat_completions,
}


def application(models: ServedModels, metrics: ServerMetrics, options: ServerOptions) -> ASGIApp:
    """An ASGI application for models that somebody else opens and closes."""
    context = Context(models, options.limits)
    app = FastAPI(title="onnxbuild serve", version=__version__, redoc_url=None)
    for path, handler in _POSTS.items():
        app.add_api_route(path, _answering(context, handler), methods=["POST"], **described(path, handler.__doc__))
    _add_probes(app, models, metrics)
    app.add_exception_handler(HTTPException, no_such_address)
    known = {*_POSTS, "/healthz", "/readyz", "/metrics", "/v1/models", "/docs", "/openapi.json"}
    return Gate(app, options.keys, metrics, known)


def _answering(context: Context, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            value = await handler(context, request)
        except Exception as error:  # noqa: BLE001 - every error is an answer
            return response_for(error)
        return value if isinstance(value, Response) else _json(value)

    return answer


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _add_probes(app: FastAPI, models: ServedModels, metrics: ServerMetrics) -> None:
    @app.get("/healthz", summary="Whether the server runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether every model has a process that answers; 503 if not")
    async def readyz() -> Response:
        is_ready = models.are_ready
        return _json({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)

    @app.get("/metrics", summary="Metrics in the format of Prometheus")
    async def shown_metrics() -> Response:
        return Response(metrics.text(models), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models", summary="The models of this server")
    async def listed() -> Response:
        names = [name for model in models.all for name in model.names]
        entries = [{"id": name, "object": "model", "created": 0, "owned_by": "onnxbuild"} for name in names]
        return _json({"object": "list", "data": entries})
