"""The addresses that write text: completions and chat, in one piece or as a stream of events."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from onnxbuild.serve.failed_requests import RequestError, wrong
from onnxbuild.serve.running.work import PromptWork
from onnxbuild.serve.web.error_responses import error_body
from onnxbuild.serve.web.request_bodies import ChatCompletions, Completions
from onnxbuild.serve.web.request_context import Context
from onnxbuild.serve.web.written_pieces import Written
from onnxbuild.serve.wire import Piece, Sampling

_USUAL_TOKENS = 16  # of a completion, as OpenAI has it
_DONE = b"data: [DONE]\n\n"

Choice = Callable[[str, str | None], dict[str, Any]]  # from text and the reason of the end


class _Shape(Struct, frozen=True):
    """How one address shows its text. `first`: what a stream begins with."""

    prefix: str
    whole_object: str
    piece_object: str
    whole: Choice
    piece: Choice
    first: dict[str, Any] | None = None


_TEXT: Choice = lambda text, ended: {"index": 0, "text": text, "logprobs": None, "finish_reason": ended}  # noqa: E731
_COMPLETION = _Shape("cmpl", "text_completion", "text_completion", _TEXT, _TEXT)
_CHAT = _Shape(
    "chatcmpl",
    "chat.completion",
    "chat.completion.chunk",
    lambda text, ended: {
        "index": 0, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": ended,
    },
    lambda text, ended: {
        "index": 0, "delta": {"content": text} if text else {}, "logprobs": None, "finish_reason": ended,
    },
    {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None},
)  # fmt: skip


async def completions(context: Context, request: Request) -> Any:
    """The continuation of a text."""
    body = await context.body(request, Completions)
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if len(prompts) != 1:
        raise wrong(f"a request has one prompt, and this one has {len(prompts)}", "prompt")
    wanted = body.max_tokens
    sampling = _sampling(body, context, wanted, usual=_USUAL_TOKENS)
    return await _written(context, request, body, PromptWork(prompts[0], (), sampling), _COMPLETION)


async def chat_completions(context: Context, request: Request) -> Any:
    """The next message of a conversation."""
    body = await context.body(request, ChatCompletions)
    messages = tuple({"role": one.role, "content": one.text} for one in body.messages)
    wanted = body.max_completion_tokens or body.max_tokens
    sampling = _sampling(body, context, wanted, usual=context.limits.tokens)
    return await _written(context, request, body, PromptWork("", messages, sampling), _CHAT)


def _sampling(body: Completions | ChatCompletions, context: Context, wanted: int | None, *, usual: int) -> Sampling:
    most = context.limits.tokens
    if wanted is not None and wanted > most:
        raise wrong(f"a completion may have {most} tokens, and this one wants {wanted}", "max_tokens")
    return Sampling(
        max_tokens=wanted or min(usual, most),
        whole=wanted is not None,
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        stop=body.stops,
    )


async def _written(
    context: Context, request: Request, body: Completions | ChatCompletions, work: PromptWork, shape: _Shape
) -> Any:
    name, crew = context.model(body.model, "generate")
    written = Written(context.limits.timeout, request, crew, work)
    head = {"id": f"{shape.prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": name}
    if not body.stream:
        text, last = await written.whole()
        return {**head, "object": shape.whole_object, "choices": [shape.whole(text, last.ended)], "usage": _usage(last)}
    pieces = await written.pieces()  # a prompt that is refused has its own status
    wants_usage = body.stream_options is not None and body.stream_options.include_usage
    head["object"] = shape.piece_object
    return _stream(_events(pieces, head, shape, wants_usage=wants_usage))


def _stream(events: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})


async def _events(
    pieces: AsyncIterator[Piece], head: dict[str, Any], shape: _Shape, *, wants_usage: bool
) -> AsyncIterator[bytes]:
    """One event per piece; what fails in the middle is an event, too, because the status has been sent."""
    # OpenAI's clients read a field `usage` in each event where the last one has numbers.
    more = {"usage": None} if wants_usage else {}
    if shape.first is not None:
        yield _event({**head, "choices": [shape.first], **more})
    try:
        async for piece in pieces:
            yield _event({**head, "choices": [shape.piece(piece.text, piece.ended or None)], **more})
            if piece.ended and wants_usage:
                yield _event({**head, "choices": [], "usage": _usage(piece)})
    except RequestError as error:
        yield _event(error_body(error))
    yield _DONE


def _event(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _usage(last: Piece) -> dict[str, int]:
    prompt, completion = last.tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
