"""Greedy generation on plain sessions, for toolchains without optimum's classes and for folders of genai."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from onnxbuild.steps.compiling.compiled_record import RECORD
from onnxbuild.workers.engines.compiled.open_variant import open_variant
from onnxbuild.workers.inputs.stages import greedy_passes, past_feeds

_LAST = -1


class Greedy:
    """A decoder or encoder-decoder with the part of transformers' `generate` that a measurement needs: one prompt."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        """Open the folder's graphs; its configs name the tokens that start and end a text."""
        self._model = open_variant(folder, threads=threads)
        self.where = getattr(self._model, "where", None)
        self.name = self._model.name
        settings = {**_read(folder / "config.json"), **_read(folder / "generation_config.json")}
        ends = settings.get("eos_token_id")
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])
        self._start = settings.get("decoder_start_token_id")

    def generate(
        self, *, input_ids: Any, attention_mask: Any, max_new_tokens: int, streamer: Any, **_sampling: Any
    ) -> Any:
        """The sequence with its new tokens [1, length]; the streamer gets the prompt, then each token."""
        ids, mask = input_ids.numpy(), attention_mask.numpy()
        if hasattr(self._model, "continue_text"):  # a program that keeps its cache continues by itself
            return self._retained(ids, max_new_tokens, streamer)
        begins = ids if self._start is None or "encoder" not in self._model.stages else np.array([[self._start]])
        streamer.put(torch.from_numpy(begins))
        made: list[int] = []
        for logits in self._logits(ids, mask, begins, made):
            made.append(int(logits[0, _LAST].argmax()))
            streamer.put(torch.tensor([made[_LAST]]))
            if made[_LAST] in self._ends or len(made) == max_new_tokens:
                break
        streamer.end()
        return torch.tensor([[*begins[0].tolist(), *made]])

    def _retained(self, ids: np.ndarray, new_tokens: int, streamer: Any) -> Any:
        streamer.put(torch.from_numpy(ids))
        made = self._model.continue_text(
            ids[0].tolist(), new_tokens, self._ends, told=lambda token: streamer.put(torch.tensor([token]))
        )
        streamer.end()
        return torch.tensor([[*ids[0].tolist(), *made]])

    def latency(self, texts: Callable[[], Sequence[Sequence[int]]], new_tokens: int) -> dict[str, Any]:
        """The statistics of a program that continues by itself; empty for any other variant."""
        statistics = getattr(self._model, "latency", None)
        return {} if statistics is None else {"latency": statistics(texts, new_tokens, self._ends)}

    def _logits(self, ids: np.ndarray, mask: np.ndarray, begins: np.ndarray, made: list[int]) -> Iterator[np.ndarray]:
        """The logits of each pass; `made` holds the tokens so far, and grows between two passes."""
        if "encoder" in self._model.stages:
            return self._encoder_decoder(ids, mask, begins, made)
        if "prefill" in self._model.stages:
            return greedy_passes(self._model, ids, made)
        return self._anew(ids, made)

    def _anew(self, ids: np.ndarray, made: list[int]) -> Iterator[np.ndarray]:
        while True:
            whole = np.concatenate([ids, np.array([made], ids.dtype).reshape(1, len(made))], axis=1)
            places = np.arange(whole.shape[1])[None]
            feeds = {"input_ids": whole, "attention_mask": np.ones_like(whole), "position_ids": places}
            yield self._model.run("forward", feeds)["logits"]

    def _encoder_decoder(
        self, ids: np.ndarray, mask: np.ndarray, begins: np.ndarray, made: list[int]
    ) -> Iterator[np.ndarray]:
        encoded = self._model.run("encoder", {"input_ids": ids, "attention_mask": mask})
        common = {"encoder_hidden_states": encoded["last_hidden_state"], "encoder_attention_mask": mask}
        first = "merged" if "merged" in self._model.stages else "decoder"
        step = {"merged": "merged_step", "decoder": "decoder_step"}[first]
        outputs = self._model.run(first, common | {"input_ids": begins})
        past = past_feeds(outputs)
        while True:
            yield outputs["logits"]
            if step in self._model.stages:
                outputs = self._model.run(step, common | past | {"input_ids": np.array([[made[_LAST]]])})
                past |= past_feeds(outputs)  # the encoder's side stays that of the first pass
            else:
                whole = np.concatenate([begins, np.array([made], begins.dtype)], axis=1)
                outputs = self._model.run(first, common | {"input_ids": whole})


def opens_with_optimum(folder: Path) -> bool:
    """Whether optimum's classes are installed and read this folder; they do not support genai's attention."""
    from importlib.util import find_spec

    if (folder / RECORD).is_file():
        return False
    return find_spec("optimum") is not None and not (folder / "genai_config.json").is_file()


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
