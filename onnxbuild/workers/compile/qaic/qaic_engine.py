"""Runs a variant for Cloud AI 100 as validate and generate ask for it. Here that is the host double of the program.

A program answers for the last token of a run alone. A validation wants every token, so a text is read twice: in chunks,
as a prompt is, and token by token, as an answer is. Where a chunk ends, its own answer counts. So both are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.backend_kind import Place
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage
from onnxbuild.workers.compile.qaic.card_files import GRAPH
from onnxbuild.workers.compile.qaic.card_latency import latency_of
from onnxbuild.workers.compile.qaic.host_double import HostDouble
from onnxbuild.workers.compile.qaic.retained_decoding import PADDING, Decoder, ProgramShape
from onnxbuild.workers.engines.compiled.compiled_model import Call, CompiledModel


class QaicModel(CompiledModel):
    """The engine of a variant for Cloud AI 100."""

    place: ClassVar[Place] = "host double"

    def __init__(self, folder: Path, record: CompiledRecord, *, threads: int) -> None:
        """Open the graph under the contract of its program."""
        self.session = HostDouble(folder / GRAPH, folder, threads=threads)
        super().__init__(folder, record, threads=threads)

    def open_file(self, path: Path, stage: CompiledStage) -> Call:  # noqa: ARG002  (the session has it open)
        """The call of the one stage."""
        return self._forward if self.record.settings["decodes"] else self._encode

    def renew(self) -> None:
        """Forget the texts in the cache."""
        self.session.renew()

    @property
    def program(self) -> ProgramShape:
        """The sizes of a decoder's program."""
        return ProgramShape.of(self.session.specializations)

    @property
    def longest(self) -> int:
        """The tokens that a text may have."""
        symbols = [one.symbols for one in self.session.specializations]
        return max(of.get("ctx_len", of["seq_len"]) for of in symbols)

    def continue_text(
        self, prompt: Sequence[int], new_tokens: int, stops: Collection[int], *, told: Callable[[int], Any]
    ) -> tuple[int, ...]:
        """What follows a prompt; `told` gets each token as soon as it is known."""
        self._check_length(len(prompt))
        decoder = Decoder(self.session, self.program, stops=stops, told=told)
        return decoder.decode([prompt], new_tokens).tokens[0]

    def latency(
        self, prompts: Callable[[], Sequence[Sequence[int]]], new_tokens: int, stops: Collection[int]
    ) -> dict[str, Any]:
        """Continue all prompts, and say how long that took; making the tokens counts as a part of the first answer."""
        started = time.perf_counter()
        decoder = Decoder(self.session, self.program, stops=stops)
        return latency_of(decoder.decode(prompts(), new_tokens, started=started), self.session.device)

    def _forward(self, feeds: Mapping[str, np.ndarray]) -> Sequence[Any]:
        ids = feeds["input_ids"]
        mask: np.ndarray = feeds["attention_mask"].astype(bool)
        texts = [[int(token) for token in row[seen]] for row, seen in zip(ids, mask, strict=True)]
        logits = [self._logits(text) for text in texts]
        whole = np.zeros((*ids.shape, logits[0].shape[-1]), np.float32)
        for place, rows in enumerate(logits):
            whole[place, mask[place]] = rows
        return [whole]

    def _logits(self, text: Sequence[int]) -> np.ndarray:
        """The logits after each token of a text."""
        shape = self.program
        self._check_length(len(text))
        rows = [self._read(text[place : place + 1], place, answer=True) for place in range(len(text))]
        for begin in range(0, len(text), shape.chunk):
            part = text[begin : begin + shape.chunk]
            rows[begin + len(part) - 1] = self._read(part, begin, answer=False)
        logits: np.ndarray = np.stack(rows)
        return logits

    def _check_length(self, length: int) -> None:
        if length > self.program.context:
            message = f"a text of {length} tokens is longer than the cache, which holds {self.program.context}"
            raise CheckFailed("OBE241", message, notes=[("hint", "raise `ctx_len`, or use shorter texts")])

    def _read(self, tokens: Sequence[int], begin: int, *, answer: bool) -> np.ndarray:
        """The logits after some tokens, read as a part of an answer or of a prompt, in the last row of the program."""
        shape = self.program
        batch, length = (shape.rows, 1) if answer else (1 if shape.batched else shape.rows, shape.chunk)
        ids: np.ndarray = np.zeros((batch, length), np.int64)
        positions = np.full_like(ids, PADDING)
        ids[-1, : len(tokens)], positions[-1, : len(tokens)] = tokens, range(begin, begin + len(tokens))
        feeds = {"input_ids": ids, "position_ids": positions}
        if shape.batched:
            feeds["batch_index"] = np.arange(shape.rows)[-batch:, None]
        logits: np.ndarray = self.session.run(feeds)["logits"][-1, -1]
        return logits

    def _encode(self, feeds: Mapping[str, np.ndarray]) -> Sequence[Any]:
        """The vectors of texts, each padded to the shortest length that the program has, batch by batch."""
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        shapes = sorted((one.symbols["seq_len"], one.symbols["batch_size"]) for one in self.session.specializations)
        length, batch = next(((long, rows) for long, rows in shapes if long >= ids.shape[1]), (0, 0))
        if not length:
            message = f"a text of {ids.shape[1]} tokens is longer than the program, which takes {self.longest}"
            raise CheckFailed("OBE241", message, notes=[("hint", "add a longer one to `seq_len`")])
        parts = []
        for begin in range(0, len(ids), batch):
            fed = {
                name: _padded(feeds[name][begin : begin + batch], batch, length)
                for name in ("input_ids", "attention_mask")
            }
            parts.append(self.session.run(fed)["output"][: len(ids) - begin])
        vectors = np.concatenate(parts)
        return [vectors[:, : mask.shape[1]] if vectors.ndim > 2 else vectors]  # noqa: PLR2004  (a vector per token)


def _padded(values: np.ndarray, rows: int, length: int) -> np.ndarray:
    padded: np.ndarray = np.pad(values, [(0, rows - len(values)), (0, length - values.shape[1])])
    return padded
