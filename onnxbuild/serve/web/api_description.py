"""What the OpenAPI page says of each address: the body, and an example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.serve.web import request_bodies

_REF = "#/components/schemas/{name}"


class Address(Struct, frozen=True):
    """The body of an address, an example of it, and an example of the answer."""

    body: type[Struct]
    example: Mapping[str, Any]
    answer: Mapping[str, Any]


_USAGE = {"prompt_tokens": 6, "total_tokens": 6}
_HEAD = {
    "id": "cmpl-0",
    "created": 1795734155,
    "model": "gpt2",
    "usage": {"prompt_tokens": 4, "completion_tokens": 8, "total_tokens": 12},
}
ADDRESSES: Mapping[str, Address] = {
    "/v1/embeddings": Address(
        request_bodies.Embeddings,
        {"model": "minilm", "input": ["A ship in the harbour.", "Boats at the quay."]},
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.0123, -0.0456]}],
            "model": "minilm",
            "usage": _USAGE,
        },
    ),
    "/v1/rerank": Address(
        request_bodies.Rerank,
        {"model": "ranker", "query": "Where are ships?", "documents": ["In the harbour.", "On a hill."], "top_n": 1},
        {"object": "list", "results": [{"index": 0, "relevance_score": 0.97}], "model": "ranker", "usage": _USAGE},
    ),
    "/classify": Address(
        request_bodies.Classify,
        {"model": "sentiment", "input": "A calm and lovely harbour.", "top_k": 1},
        {
            "object": "list",
            "data": [{"index": 0, "labels": [{"label": "POSITIVE", "score": 0.998}]}],
            "model": "sentiment",
            "usage": _USAGE,
        },
    ),
    "/token-classify": Address(
        request_bodies.TokenClassify,
        {"model": "tagger", "input": "Ada lives in Bergen."},
        {
            "object": "list",
            "data": [
                {
                    "index": 0,
                    "entities": [{"entity": "LOC", "score": 0.99, "start": 13, "end": 19, "text": "Bergen"}],
                }
            ],
            "model": "tagger",
            "usage": _USAGE,
        },
    ),
    "/v1/completions": Address(
        request_bodies.Completions,
        {"model": "gpt2", "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0},
        _HEAD
        | {
            "object": "text_completion",
            "choices": [{"index": 0, "text": ", there was a ship", "logprobs": None, "finish_reason": "length"}],
        },
    ),
    "/v1/chat/completions": Address(
        request_bodies.ChatCompletions,
        {"model": "gpt2", "messages": [{"role": "user", "content": "Where are ships?"}], "stream": False},
        _HEAD
        | {
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "In the harbour."},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
        },
    ),
}


def described(path: str, summary: str | None) -> dict[str, Any]:
    """The arguments of `add_api_route` that describe an address."""
    address = ADDRESSES[path]
    schema = msgspec.json.schema(address.body)
    own = schema.get("$defs", {}).get(address.body.__name__, schema)
    body = {"content": {"application/json": {"schema": own, "example": address.example}}, "required": True}
    answer = {"description": "The answer", "content": {"application/json": {"example": address.answer}}}
    return {
        "summary": (summary or "").splitlines()[0].rstrip("."),
        "openapi_extra": {"requestBody": body},
        "responses": {200: answer},
        "response_model": None,
    }
