"""Makes the inputs of a graph from text, in Triton's Python backend. It needs `pip install tokenizers` there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton
from tokenizers import Tokenizer


class TritonPythonModel:
    """Triton calls `initialize` once, and `execute` with the requests that wait."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer beside this file."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self.settings = json.loads((folder / "tokens.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        if self.settings["max_length"] is not None:
            self.tokenizer.enable_truncation(self.settings["max_length"])
        token = self.settings["pad_token"]
        known = self.tokenizer.token_to_id(token) if token else None
        self.pad_id = self.settings["pad_id"] if known is None else known

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request."""
        return [self._response(request) for request in requests]

    def _response(self, request: Any) -> Any:
        values = triton.get_input_tensor_by_name(request, "text").as_numpy().reshape(-1)
        try:
            texts = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
        except UnicodeDecodeError as error:
            return triton.InferenceResponse(error=triton.TritonError(f"a text is not UTF-8: {error}"))
        arrays = self._arrays([text.lower() for text in texts] if self.settings["lowers"] else texts)
        return triton.InferenceResponse([triton.Tensor(name, array) for name, array in arrays.items()])

    def _arrays(self, texts: list[str]) -> dict[str, np.ndarray]:
        encodings = self.tokenizer.encode_batch(texts)
        width = self.settings["fixed_length"] or max(map(len, encodings), default=0)
        rows = {
            "input_ids": [one.ids for one in encodings],
            "attention_mask": [one.attention_mask for one in encodings],
            "token_type_ids": [one.type_ids for one in encodings],
        }
        return {name: self._padded(rows[name], width, name, kind) for name, kind in self.settings["types"].items()}

    def _padded(self, rows: list[list[int]], width: int, name: str, kind: str) -> np.ndarray:
        array: np.ndarray = np.full((len(rows), width), self.pad_id if name == "input_ids" else 0, dtype=kind)
        for number, row in enumerate(rows):
            start = width - len(row) if self.settings["pads_left"] else 0
            array[number, start : start + len(row)] = row
        return array
