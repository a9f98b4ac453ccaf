"""What the server answers: one function per address, each from a request body to a JSON object."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxbuild.serve.inference.encoder_model import EncoderModel
from onnxbuild.serve.inference.generating.decoder_model import DecoderModel
from onnxbuild.serve.inference.model_folder import ModelFolder
from onnxbuild.serve.inference.opened_model import Model, opened_model
from onnxbuild.serve.wire import Item, Prompt, Refusal, Row, Sampling

MOST_TEXTS = 256  # of one request
MOST_TOKENS = 4096  # that one request may ask for
_MOST_SEED = (1 << 63) - 1

Body = Mapping[str, Any]
Answer = Callable[[Any, Body], dict[str, Any]]


class RefusedError(Exception):
    """A request that the model cannot answer; the message says why."""


def open_model(folder: Path, threads: int | None = None) -> Model:
    """The model of this folder. `server.json` says which task it has."""
    task = json.loads((folder / "server.json").read_text(encoding="utf-8"))["task"]
    return opened_model(ModelFolder(folder / "model", task), threads)


def addresses_of(model: Model) -> dict[str, Answer]:
    """The addresses that a model has, each with the function that answers."""
    return {path: answer for path, (ability, answer) in _ADDRESSES.items() if ability in model.about.abilities}


def _embeddings(model: EncoderModel, body: Body) -> dict[str, Any]:
    rows = model.answer("embed", _items(body))
    return {"data": [{"index": index, "embedding": _numbers(row)} for index, row in enumerate(rows)]}


def _classify(model: EncoderModel, body: Body) -> dict[str, Any]:
    rows = model.answer("classify", _items(body))
    return {"data": [{"index": index, "scores": _by_label(model, row)} for index, row in enumerate(rows)]}


def _rerank(model: EncoderModel, body: Body) -> dict[str, Any]:
    query = _text(body.get("query"), "query")
    documents = _texts(body.get("documents"), "documents")
    rows = model.answer("rerank", [Item(query, document) for document in documents])
    order = sorted(range(len(rows)), key=lambda index: -rows[index].scores[0])
    return {"results": [{"index": index, "relevance_score": rows[index].scores[0]} for index in order]}


def _token_classify(model: EncoderModel, body: Body) -> dict[str, Any]:
    texts = _texts(body.get("input"), "input")
    rows = model.answer("tag", [Item(text) for text in texts])
    return {
        "data": [
            {"index": index, "tokens": _tokens(text, row)}
            for index, (text, row) in enumerate(zip(texts, rows, strict=True))
        ]
    }


def _completions(model: DecoderModel, body: Body) -> dict[str, Any]:
    sampling = Sampling(
        max_tokens=_whole(body.get("max_tokens", 16), 1, MOST_TOKENS, "max_tokens"),
        whole=False,
        temperature=_within(body.get("temperature", 0.0), 0, 2, "temperature"),
        seed=None if body.get("seed") is None else _whole(body["seed"], 0, _MOST_SEED, "seed"),
    )
    pieces = [*model.pieces(Prompt(0, sampling, text=_text(body.get("prompt"), "prompt")))]
    last = pieces[-1]
    if isinstance(last, Refusal):
        raise RefusedError(last.message)
    text = "".join(piece.text for piece in pieces if not isinstance(piece, Refusal))
    usage = dict(zip(("prompt_tokens", "completion_tokens"), last.tokens, strict=True))
    return {"text": text, "finish_reason": last.ended, "usage": usage}


_ADDRESSES: Mapping[str, tuple[str, Answer]] = {
    "/v1/embeddings": ("embed", _embeddings),
    "/classify": ("classify", _classify),
    "/v1/rerank": ("rerank", _rerank),
    "/token-classify": ("tag", _token_classify),
    "/v1/completions": ("generate", _completions),
}


def _items(body: Body) -> list[Item]:
    return [Item(text) for text in _texts(body.get("input"), "input")]


def _texts(given: Any, name: str) -> Sequence[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise RefusedError(f"`{name}` must be a text, or a list of at least one text")
    if len(texts) > MOST_TEXTS:
        raise RefusedError(f"`{name}` has {len(texts)} texts, and a request may have {MOST_TEXTS}")
    return texts


def _text(given: Any, name: str) -> str:
    if not isinstance(given, str):
        raise RefusedError(f"`{name}` must be a text")
    return given


def _within(given: Any, least: float, most: float, name: str) -> Any:
    if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given <= most:
        raise RefusedError(f"`{name}` must be a number from {least} to {most}")
    return given


def _whole(given: Any, least: int, most: int, name: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most:
        raise RefusedError(f"`{name}` must be a whole number from {least} to {most}")
    return given


def _numbers(row: Row) -> list[float]:
    return array("f", row.vector).tolist()


def _by_label(model: EncoderModel, row: Row) -> dict[str, float]:
    return dict(zip(model.about.labels, row.scores, strict=True))


def _tokens(text: str, row: Row) -> list[dict[str, Any]]:
    return [
        {"text": text[one.start : one.end], "start": one.start, "end": one.end, "label": one.label, "score": one.score}
        for one in row.entities
    ]
