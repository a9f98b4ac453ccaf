"""What every address does: read a body within its limit, find the model, wait for answers as long as somebody does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from onnxbuild.serve.failed_requests import RequestError, too_late, wrong
from onnxbuild.serve.limits_of_server import Limits
from onnxbuild.serve.running.crew_of_model import Crew
from onnxbuild.serve.running.served_model import ServedModels
from onnxbuild.serve.web.client_of_request import ClientLeftError, has_left
from onnxbuild.serve.wire import Ability, Item, Row

Body = TypeVar("Body")

# What a model with an ability does, and the addresses for it.
_WHAT_DOES: Mapping[Ability, tuple[str, str]] = {
    "embed": ("embeds text", "`/v1/embeddings`"),
    "rerank": ("scores pairs of texts", "`/v1/rerank`"),
    "classify": ("classifies text", "`/classify`"),
    "tag": ("labels tokens", "`/token-classify`"),
    "generate": ("continues text", "`/v1/completions` or `/v1/chat/completions`"),
}


class Context:
    """The models and the limits that requests meet."""

    def __init__(self, models: ServedModels, limits: Limits) -> None:
        self.models, self.limits = models, limits
        self._decoders: dict[type, msgspec.json.Decoder[object]] = {}

    async def body(self, request: Request, kind: type[Body]) -> Body:
        """The body of a request. Errors: RequestError with 413, 400 or 422."""
        content = await self._content(request)
        try:
            value: Body = msgspec.json.decode(content, type=kind)
        except msgspec.ValidationError as error:
            raise RequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"the body is wrong: {error}", code="invalid") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}", code="invalid_json") from None
        return value

    async def _content(self, request: Request) -> bytes:
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self.limits.body:
            raise self._too_large()
        pieces, size = [], 0
        async for piece in request.stream():
            size += len(piece)
            if size > self.limits.body:
                raise self._too_large()
            pieces.append(piece)
        return b"".join(pieces)

    def _too_large(self) -> RequestError:
        message = f"the body has more than {self.limits.body} bytes"
        return RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, code="too_large")

    def model(self, name: str, ability: Ability) -> tuple[str, Crew]:
        """The name and the crew of the model that a request names. Errors: RequestError with 404 or 400."""
        if not name and len(self.models.all) == 1:
            name = self.models.all[0].names[0]
        found = self.models.by_name.get(name)
        if found is None:
            known = ", ".join(name for model in self.models.all for name in model.names)
            message = f"there is no model `{name}`; there are {known}" if name else f"`model` must be one of {known}"
            raise RequestError(HTTPStatus.NOT_FOUND, message, code="model_not_found", param="model")
        if ability not in found.crew.about.abilities:
            does = " and ".join(_WHAT_DOES[one][0] for one in found.crew.about.abilities)
            addresses = " or ".join(_WHAT_DOES[one][1] for one in found.crew.about.abilities)
            raise wrong(f"`{name}` {does}, which has another address: {addresses}", "model", "wrong_model")
        return name, found.crew

    async def answers(self, request: Request, crew: Crew, ability: Ability, items: Sequence[Item]) -> list[Row]:
        """The answers for items. Errors: RequestError; ClientLeftError, and then nothing more is computed for it."""
        self._check(items)
        asked = crew.ask(ability, items)
        left = asyncio.ensure_future(has_left(request))
        try:
            awaited: set[asyncio.Future[Any]] = {asked.answered, left}
            await asyncio.wait(awaited, timeout=self.limits.timeout, return_when=asyncio.FIRST_COMPLETED)
            if asked.answered.done():
                return asked.answered.result()
            raise ClientLeftError if left.done() else too_late(self.limits.timeout)
        finally:
            left.cancel()
            crew.forget(asked)

    def _check(self, items: Sequence[Item]) -> None:
        if not items:
            raise wrong("there is nothing to answer: the list is empty", code="empty")
        if len(items) > self.limits.items:
            most = self.limits.items
            raise wrong(f"a request may have {most} texts, and this one has {len(items)}", code="too_many_items")
