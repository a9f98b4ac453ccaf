"""The addresses that answer in one piece: embeddings, scores, labels."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from onnxbuild.serve.failed_requests import wrong
from onnxbuild.serve.web.entity_groups import shown_entities
from onnxbuild.serve.web.request_bodies import Classify, Embeddings, Rerank, TokenClassify
from onnxbuild.serve.web.request_context import Context
from onnxbuild.serve.wire import Item, Row


async def embeddings(context: Context, request: Request) -> Any:
    """One vector for each text."""
    body = await context.body(request, Embeddings)
    name, crew = context.model(body.model, "embed")
    if body.dimensions not in {None, crew.about.dimensions}:
        has = f"`{name}` has {crew.about.dimensions} dimensions"
        raise wrong(f"{has}, and cannot return {body.dimensions}", "dimensions")
    rows = await context.answers(request, crew, "embed", _items(_texts(body.input)))
    shown = _in_base64 if body.encoding_format == "base64" else _as_numbers
    data = [{"object": "embedding", "index": index, "embedding": shown(row.vector)} for index, row in enumerate(rows)]
    return {"object": "list", "data": data, "model": name, "usage": _usage(rows)}


async def rerank(context: Context, request: Request) -> Any:
    """The documents in the order of their scores for a query."""
    body = await context.body(request, Rerank)
    name, crew = context.model(body.model, "rerank")
    documents = [_document(one) for one in body.documents]
    rows = await context.answers(request, crew, "rerank", [Item(body.query, one) for one in documents])
    order = sorted(range(len(rows)), key=lambda index: -rows[index].scores[0])
    results = [
        {"index": index, "relevance_score": rows[index].scores[0]}
        | ({"document": {"text": documents[index]}} if body.return_documents else {})
        for index in order[: body.top_n]
    ]
    return {"object": "list", "results": results, "model": name, "usage": _usage(rows)}


async def classify(context: Context, request: Request) -> Any:
    """The labels of each text, the likeliest first."""
    body = await context.body(request, Classify)
    name, crew = context.model(body.model, "classify")
    rows = await context.answers(request, crew, "classify", _items(_texts(body.input)))
    labels = crew.about.labels
    data = [{"index": index, "labels": _ranked(labels, row)[: body.top_k]} for index, row in enumerate(rows)]
    return {"object": "list", "data": data, "model": name, "usage": _usage(rows)}


async def token_classify(context: Context, request: Request) -> Any:
    """The entities of each text."""
    body = await context.body(request, TokenClassify)
    name, crew = context.model(body.model, "tag")
    texts = _texts(body.input)
    rows = await context.answers(request, crew, "tag", _items(texts))
    data = [
        {"index": index, "entities": shown_entities(text, row.entities, body.aggregation)}
        for index, (text, row) in enumerate(zip(texts, rows, strict=True))
    ]
    return {"object": "list", "data": data, "model": name, "usage": _usage(rows)}


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
        return texts
    if isinstance(texts, list) and texts and all(isinstance(one, int | list) for one in texts):
        raise wrong("token ids depend on a tokenizer, and the server has that of its model: send text", "input")
    raise wrong("`input` must be a text, or a list of at least one text", "input")


def _items(texts: Sequence[str]) -> list[Item]:
    return [Item(text) for text in texts]


def _document(given: str | dict[str, str]) -> str:
    text = given if isinstance(given, str) else given.get("text")
    if text is None:
        raise wrong('a document must be a text, or an object with a "text"', "documents")
    return text


def _ranked(labels: Sequence[str], row: Row) -> list[dict[str, Any]]:
    pairs = sorted(zip(labels, row.scores, strict=True), key=lambda pair: -pair[1])
    return [{"label": label, "score": score} for label, score in pairs]


def _usage(rows: Sequence[Row]) -> dict[str, int]:
    tokens = sum(row.tokens for row in rows)
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _as_numbers(vector: bytes) -> list[float]:
    return array("f", vector).tolist()


def _in_base64(vector: bytes) -> str:
    if sys.byteorder == "big":
        swapped = array("f", vector)
        swapped.byteswap()
        vector = swapped.tobytes()
    return base64.b64encode(vector).decode()
