"""Runs the ONNX models of this folder with onnxruntime, tokenizers and numpy: neither torch nor transformers is needed.

    from onnx_model import OnnxModel

    model = OnnxModel("path/of/this/folder")
    vectors = model.encode(["a text", "another one"])       # an embedder
    scores = model.predict([("a query", "a text")])         # a cross-encoder
    ranking = model.rank("a query", ["a text", "another"])  # a cross-encoder

The results are those of sentence-transformers with `backend="onnx"`. `file_name` chooses another graph of `onnx/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer

from onnxbuild.serve.inference.pools import normalized, pool_of, pooling_modes

Pair = tuple[str, str]

_NO_LIMIT = 1 << 30  # tokenizer_config.json says 1e30 where the tokenizer knows no limit


class OnnxModel:
    """An embedder or a cross-encoder in a folder of sentence-transformers."""

    def __init__(
        self,
        folder: str | Path | None = None,
        file_name: str = "model.onnx",
        *,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        threads: int = 0,
        truncate_dim: int | None = None,
    ) -> None:
        """Open one graph of the folder, by default that of this file. `threads`: 0 lets ONNX Runtime decide."""
        self.folder = Path(folder) if folder is not None else Path(__file__).parent
        self.config = self._json("config.json")
        self.tokens = self._json("tokenizer_config.json")
        self.sentence = self._json("sentence_bert_config.json")
        settings = self._json("config_sentence_transformers.json")
        # As in sentence-transformers, both are there, and empty where the model was saved without them.
        self.prompts: dict[str, str] = {"query": "", "document": "", **(settings.get("prompts") or {})}
        self.default_prompt_name: str | None = settings.get("default_prompt_name")
        self.truncate_dim = truncate_dim
        self.max_seq_length = self._limit()
        self.tokenizer = self._tokenizer()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(self._graph(file_name), options, providers=list(providers))
        self._takes = [value.name for value in self.session.get_inputs()]
        self._gives = [value.name for value in self.session.get_outputs()]
        self._read_modules()

    def _graph(self, file_name: str) -> str:
        """The place of a graph. Errors: FileNotFoundError, which lists those that there are."""
        place = self.folder / "onnx" / file_name
        if not place.is_file():
            known = ", ".join(sorted(one.name for one in place.parent.glob("*.onnx"))) or "none"
            raise FileNotFoundError(f"there is no graph {file_name} in {place.parent}; there are: {known}")
        return str(place)

    def encode(
        self,
        texts: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> np.ndarray:
        """One vector per text; for a single text, its vector."""
        if isinstance(texts, str):
            return self._encoded([texts], prompt_name, prompt, 1, normalize_embeddings, truncate_dim)[0]
        return self._encoded(texts, prompt_name, prompt, batch_size, normalize_embeddings, truncate_dim)

    def encode_query(self, texts: str | Sequence[str], **options: Any) -> np.ndarray:
        """`encode` with the prompt for queries, if the model has one."""
        return self.encode(texts, **self._with_prompt(("query",), options))

    def encode_document(self, texts: str | Sequence[str], **options: Any) -> np.ndarray:
        """`encode` with the prompt for documents, if the model has one."""
        return self.encode(texts, **self._with_prompt(("document", "passage", "corpus"), options))

    def predict(
        self, pairs: Pair | Sequence[Pair | Sequence[str]], *, batch_size: int = 32, apply_softmax: bool = False
    ) -> np.ndarray:
        """The score of each pair of texts, or its scores by class, with the saved activation."""
        if len(pairs) and isinstance(pairs[0], str):
            one: np.ndarray = self.predict([pairs], batch_size=1, apply_softmax=apply_softmax)[0]  # type: ignore[list-item]
            return one
        activate = self._activation()

        def scores(batch: Sequence[Any]) -> np.ndarray:
            logits = activate(self._run("logits", self._feeds([tuple(pair) for pair in batch])))
            return _softmax(logits) if apply_softmax and logits.ndim > 1 else logits

        rows = self._in_batches(pairs, [sum(map(len, pair)) for pair in pairs], batch_size, scores)
        return rows[:, 0] if rows.ndim > 1 and rows.shape[1] == 1 else rows

    def rank(
        self, query: str, documents: Sequence[str], *, top_k: int | None = None, return_documents: bool = False
    ) -> list[dict[str, Any]]:
        """The documents by their scores, best first: `corpus_id`, `score`, and `text` if it is asked for."""
        scores = self.predict([(query, document) for document in documents])
        if scores.ndim > 1:
            raise ValueError("`rank` needs a model with one score per pair: use `predict`")
        found: list[dict[str, Any]] = [{"corpus_id": number, "score": score} for number, score in enumerate(scores)]
        if return_documents:
            found = [{**one, "text": documents[one["corpus_id"]]} for one in found]
        return sorted(found, key=lambda one: one["score"], reverse=True)[:top_k]

    # -- vectors ------------------------------------------------------------------------------------------------------

    def _encoded(
        self,
        texts: Sequence[str],
        prompt_name: str | None,
        prompt: str | None,
        batch_size: int,
        normalize: bool,  # noqa: FBT001
        truncate_dim: int | None,
    ) -> np.ndarray:
        prefix = self._prompt(prompt_name, prompt)
        skipped = 0 if self._pools_prompt or not prefix else self._prompt_length(prefix)
        size = truncate_dim if truncate_dim is not None else self.truncate_dim

        def vectors(batch: Sequence[str]) -> np.ndarray:
            found = self._vectors(self._feeds([f"{prefix}{text}" for text in batch]), skipped)[:, :size]
            return normalized(found) if normalize else found

        return self._in_batches(texts, [len(text) for text in texts], batch_size, vectors)

    def _vectors(self, feeds: Mapping[str, np.ndarray], skipped: int) -> np.ndarray:
        if self._pool is None:  # further modules, which the graph contains
            return self._run("sentence_embedding", feeds)
        mask = feeds["attention_mask"]
        if skipped:
            place = np.arange(mask.shape[1])[None, :] - mask.argmax(axis=1)[:, None]
            mask = np.where(place < skipped, 0, mask)
        pooled = self._pool(self._run("last_hidden_state", feeds), mask)
        return normalized(pooled) if self._normalizes else pooled

    def _read_modules(self) -> None:
        """How the folder makes one vector of the vectors of tokens."""
        modules = self._json_list("modules.json")
        kinds = [str(one.get("type", "")).rpartition(".")[2] for one in modules]
        place = next((one["path"] for one, kind in zip(modules, kinds, strict=True) if kind == "Pooling"), None)
        config = self._json(f"{place}/config.json") if place is not None else {}
        is_plain = set(kinds) <= {"Transformer", "Pooling", "Normalize"} and "last_hidden_state" in self._gives
        self._pool = pool_of(pooling_modes(config)) if is_plain else None
        self._pools_prompt = bool(config.get("include_prompt", True))
        self._normalizes = "Normalize" in kinds

    # -- prompts ------------------------------------------------------------------------------------------------------

    def _prompt(self, name: str | None, prompt: str | None) -> str:
        if prompt is not None:
            return prompt
        if name is not None:
            if name not in self.prompts:
                raise ValueError(f"the model has no prompt `{name}`: it has {sorted(self.prompts)}")
            return self.prompts[name]
        return self.prompts.get(self.default_prompt_name or "", "")

    def _with_prompt(self, names: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
        name = next((one for one in names if one in self.prompts), None)
        is_given = name is None or options.get("prompt") is not None or options.get("prompt_name") is not None
        return dict(options) if is_given else {**options, "prompt_name": name}

    def _prompt_length(self, prompt: str) -> int:
        """The tokens of a prompt, without a special token at its end."""
        encoding = self.tokenizer.encode(prompt)
        return len(encoding) - int(bool(encoding.special_tokens_mask[-1:] == [1]))

    # -- tokens -------------------------------------------------------------------------------------------------------

    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.enable_truncation(
            self.max_seq_length
        ) if self.max_seq_length < _NO_LIMIT else tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _limit(self) -> int:
        """The largest number of tokens, as sentence-transformers computes it."""
        written = self.sentence.get("max_seq_length")
        if isinstance(written, int):
            return written
        limits = (self.tokens.get("model_max_length"), self.config.get("max_position_embeddings"))
        return min(
            [int(one) for one in limits if isinstance(one, int | float) and 0 < one < _NO_LIMIT], default=_NO_LIMIT
        )

    def _feeds(self, texts: Sequence[Any]) -> dict[str, np.ndarray]:
        """The inputs of the graph for a batch, padded to its longest text."""
        lowers = bool(self.sentence.get("do_lower_case"))
        encodings = self.tokenizer.encode_batch([_lowered(text) if lowers else text for text in texts])
        longest = max(map(len, encodings))
        left = self.tokens.get("padding_side") == "left"
        feeds = {
            "input_ids": _padded([one.ids for one in encodings], longest, self._pad_id(), left=left),
            "attention_mask": _padded([[1] * len(one) for one in encodings], longest, 0, left=left),
            "token_type_ids": _padded([self._types(one) for one in encodings], longest, 0, left=left),
        }
        if "position_ids" in self._takes:
            feeds["position_ids"] = np.maximum(feeds["attention_mask"].cumsum(axis=1) - 1, 0)
        return {name: value for name, value in feeds.items() if name in self._takes or name == "attention_mask"}

    def _types(self, encoding: Encoding) -> list[int]:
        types: list[int] = encoding.type_ids
        return types

    def _pad_id(self) -> int:
        name = self.tokens.get("pad_token")
        text = name.get("content") if isinstance(name, dict) else name
        found = self.tokenizer.token_to_id(text) if isinstance(text, str) else self.config.get("pad_token_id")
        return int(found or 0)

    # -- the graph ----------------------------------------------------------------------------------------------------

    def _run(self, output: str, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        (result,) = self.session.run([output], {name: value for name, value in feeds.items() if name in self._takes})
        found: np.ndarray = np.asarray(result, dtype=np.float32)
        return found

    def _in_batches(
        self,
        items: Sequence[Any],
        lengths: Sequence[int],
        size: int,
        compute: Callable[[Sequence[Any]], np.ndarray],
    ) -> np.ndarray:
        """What `compute` returns for batches of similar length, in the order of the items."""
        if not len(items):
            return np.empty((0,), dtype=np.float32)
        order = np.argsort([-length for length in lengths])  # as sentence-transformers sorts, so that batches are equal
        parts = [compute([items[number] for number in run]) for run in _runs(order, size)]
        result: np.ndarray = np.concatenate(parts)[np.argsort(order)]
        return result

    def _activation(self) -> Callable[[np.ndarray], np.ndarray]:
        """What a cross-encoder makes of its logits: as saved, or the sigmoid of a single one."""
        saved = (self.config.get("sentence_transformers") or {}).get("activation_fn")
        name = str(saved or self.config.get("sbert_ce_default_activation_function") or "").rpartition(".")[2]
        count = len(self.config.get("id2label") or {}) or int(self.config.get("num_labels") or 2)
        known = {"Sigmoid": _sigmoid, "Identity": _same, "": _sigmoid if count == 1 else _same}
        if name not in known:
            raise ValueError(f"the activation `{name}` is not known: use sentence-transformers")
        return known[name]

    # -- files --------------------------------------------------------------------------------------------------------

    def _json(self, name: str) -> dict[str, Any]:
        found = self._parsed(name)
        return found if isinstance(found, dict) else {}

    def _json_list(self, name: str) -> list[dict[str, Any]]:
        found = self._parsed(name)
        return found if isinstance(found, list) else []

    def _parsed(self, name: str) -> Any:
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _lowered(text: Any) -> Any:
    return text.lower() if isinstance(text, str) else tuple(one.lower() for one in text)


def _padded(rows: Sequence[Sequence[int]], length: int, fill: int, *, left: bool) -> np.ndarray:
    padding = [[fill] * (length - len(row)) for row in rows]
    both = zip(rows, padding, strict=True)
    result: np.ndarray = np.array([[*more, *row] if left else [*row, *more] for row, more in both], dtype=np.int64)
    return result


def _runs(order: np.ndarray, size: int) -> Iterator[list[int]]:
    return (order[start : start + size].tolist() for start in range(0, len(order), size))


def _same(values: np.ndarray) -> np.ndarray:
    return values


def _sigmoid(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # exp of a large number is infinity, of which the quotient is 0
        result: np.ndarray = 1 / (1 + np.exp(-values))
        return result


def _softmax(values: np.ndarray) -> np.ndarray:
    powers: Any = np.exp(values - values.max(axis=-1, keepdims=True))
    result: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return result
