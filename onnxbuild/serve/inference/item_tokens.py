"""Texts and pairs as the arrays that a graph reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from onnxbuild.serve.inference.compiled_session import CompiledSession
from onnxbuild.serve.inference.graph_session import GraphSession
from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError
from onnxbuild.serve.wire import Item

_KNOWN = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})


class ItemTokens:
    """The tokenizer of an encoder with the shape of its graph."""

    def __init__(self, folder: ModelFolder, session: GraphSession | CompiledSession) -> None:
        if unknown := session.inputs.keys() - _KNOWN:
            raise UnusableModelError(f"the graph takes an input `{min(unknown)}` that no text gives")
        batch, fixed = session.inputs["input_ids"].shape[:2]
        if isinstance(batch, int):
            raise UnusableModelError(f"the graph takes exactly {batch} texts at a time")
        self._session, self._fixed = session, fixed if isinstance(fixed, int) else None
        self.positions = min(folder.positions(), self._fixed or folder.positions())
        self.tokenizer = folder.tokenizer()
        self.tokenizer.enable_truncation(self.positions)
        self._pad = _padding_id(folder, self.tokenizer)
        self._lower = bool(folder.sentence.get("do_lower_case"))

    def encoded(self, items: Sequence[Item], prefix: str = "") -> list[Encoding]:
        """The tokens of each item, cut to the positions of the model."""
        return self.tokenizer.encode_batch([self._plain(item, prefix) for item in items])  # type: ignore[no-any-return]

    def _plain(self, item: Item, prefix: str) -> str | tuple[str, str]:
        text = f"{prefix}{item.text}"
        text = text.lower() if self._lower else text
        return text if item.pair is None else (text, item.pair)

    def feeds(self, encodings: Sequence[Encoding]) -> dict[str, np.ndarray]:
        """The inputs of the graph for encodings that run together."""
        width = self._fixed or max(len(one) for one in encodings)
        fields = {
            "input_ids": [one.ids for one in encodings],
            "attention_mask": [one.attention_mask for one in encodings],
            "token_type_ids": [one.type_ids for one in encodings],
        }
        padding = {"input_ids": self._pad}
        feeds = {
            name: _padded(rows, width, padding.get(name, 0), self._session.type_of(name))
            for name, rows in fields.items()
            if name in self._session.inputs
        }
        if "position_ids" in self._session.inputs:
            positions = np.arange(width, dtype=self._session.type_of("position_ids"))
            feeds["position_ids"] = np.tile(positions, (len(encodings), 1))
        return feeds


def _padded(rows: Sequence[Sequence[int]], width: int, fill: int, type_: Any) -> np.ndarray:
    padded: np.ndarray = np.full((len(rows), width), fill, dtype=type_)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def _padding_id(folder: ModelFolder, tokenizer: Tokenizer) -> int:
    token = folder.special("pad_token")
    known = tokenizer.token_to_id(token) if token else None
    return int(known if known is not None else folder.config.get("pad_token_id") or 0)
