"""Models with one forward pass: embeddings, classes, scores of pairs, labels of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from tokenizers import Encoding

from onnxbuild.serve.inference import pooling
from onnxbuild.serve.inference.buckets import buckets
from onnxbuild.serve.inference.compiled_session import CompiledSession, opened_session
from onnxbuild.serve.inference.graph_session import GraphSession
from onnxbuild.serve.inference.item_tokens import ItemTokens
from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError
from onnxbuild.serve.inference.pools import normalized
from onnxbuild.serve.inference.token_labels import entities_of
from onnxbuild.serve.wire import Ability, About, Item, Row
from onnxbuild.tables.serving.served_tasks import ENCODERS

_POOLED = "sentence_embedding"
_TOKEN_VECTORS = ("token_embeddings", "last_hidden_state")


class EncoderModel:
    """One encoder with its tokenizer. Errors: UnusableModelError if the folder cannot be served."""

    def __init__(self, folder: ModelFolder, threads: int | None) -> None:
        self._folder = folder
        self._session = opened_session(folder, threads)
        self._tokens = ItemTokens(folder, self._session)
        self._labels: tuple[str, ...] = ()
        self._abilities: tuple[Ability, ...] = ENCODERS[folder.task]
        self._prefix = _default_prompt(folder)
        if "embed" in self._abilities:
            self._vectors = _vectors_of(folder, self._session)
        else:
            self._labels = folder.labels(_classes(self._session))
        if len(self._labels) == 1 and "classify" in self._abilities:
            self._abilities = ("classify", "rerank")
        self.about = About(
            abilities=self._abilities,
            positions=self._tokens.positions,
            dimensions=self._dimensions() if "embed" in self._abilities else 0,
            labels=self._labels,
        )

    def answer(self, ability: Ability, items: Sequence[Item]) -> list[Row]:
        """The answers for items, in their order. The tokens of similar length run together."""
        prefix = self._prefix if ability == "embed" else ""
        encodings = self._tokens.encoded(items, prefix)
        rows: dict[int, Row] = {}
        for run in buckets([len(one) for one in encodings]):
            rows |= zip(run, self._run(ability, [encodings[number] for number in run]), strict=True)
        return [rows[number] for number in range(len(items))]

    def _run(self, ability: Ability, encodings: Sequence[Encoding]) -> Iterator[Row]:
        feeds = self._tokens.feeds(encodings)
        if ability == "embed":
            vectors = self._vectors(feeds)
            yield from (Row(len(one), row.tobytes()) for one, row in zip(encodings, vectors, strict=True))
            return
        (logits,) = self._session.run(["logits"], feeds)
        for encoding, row in zip(encodings, logits.astype(np.float32), strict=True):
            yield self._row(ability, encoding, row)

    def _row(self, ability: Ability, encoding: Encoding, logits: np.ndarray) -> Row:
        if ability == "tag":
            scores = softmax(logits[: len(encoding)])
            return Row(len(encoding), entities=entities_of(encoding, scores, self._labels))
        return Row(len(encoding), scores=tuple(map(float, self._probabilities(logits))))

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Softmax where one class is right; sigmoid where several may be, or where there is one score."""
        problem = self._folder.config.get("problem_type")
        if problem == "multi_label_classification" or (len(logits) == 1 and problem != "regression"):
            return sigmoid(logits)
        return logits if problem == "regression" else softmax(logits)

    def _dimensions(self) -> int:
        return len(self.answer("embed", [Item("dimensions")])[0].vector) // np.dtype(np.float32).itemsize


def _classes(session: GraphSession | CompiledSession) -> int | None:
    """How many classes the graph tells apart; None if the shape of its output does not say so."""
    if "logits" not in session.outputs:
        raise UnusableModelError("the graph has no output `logits`")
    *_, classes = session.outputs["logits"].shape or [None]
    return classes if isinstance(classes, int) else None


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return result


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """A probability for each score."""
    # exp of a large number overflows to infinity, of which the quotient is 0.
    with np.errstate(over="ignore"):
        result: np.ndarray = 1 / (1 + np.exp(-logits))
        return result


def _default_prompt(folder: ModelFolder) -> str:
    """What sentence-transformers' `encode` puts before each text."""
    config = folder.json("config_sentence_transformers.json")
    return str((config.get("prompts") or {}).get(config.get("default_prompt_name")) or "")


def _vectors_of(
    folder: ModelFolder, session: GraphSession | CompiledSession
) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """A function from feeds to one float32 vector per text."""
    ends = normalized if pooling.is_normalized(folder) else np.asarray
    if _POOLED in session.outputs:
        return lambda feeds: ends(session.run([_POOLED], feeds)[0].astype(np.float32))
    name = next((name for name in _TOKEN_VECTORS if name in session.outputs), None)
    if name is None:
        raise UnusableModelError(f"the graph has no output of {_POOLED}, {', '.join(_TOKEN_VECTORS)}")
    pooling.check_modules(folder)
    pool = pooling.pooling_of(folder)

    def vectors(feeds: dict[str, np.ndarray]) -> np.ndarray:
        (tokens,) = session.run([name], feeds)
        return ends(pool(tokens.astype(np.float32), feeds["attention_mask"]).astype(np.float32))

    return vectors
