"""Runs a variant for Cloud AI 100 as validate, benchmark and generate ask for it.

What is compiled runs on a card, where the SDK finds one that is ready. Anything else runs in the host double.

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
from onnxbuild.steps.compiling.backend_kind import HOST_DOUBLE, Place
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage
from onnxbuild.workers.compile.qaic.card.card_session import CardSession
from onnxbuild.workers.compile.qaic.card.sdk_modules import has_card, sdk_modules
from onnxbuild.workers.compile.qaic.card.sdk_versions import check_program
from onnxbuild.workers.compile.qaic.card_files import GRAPH, PROGRAM_FOLDER
from onnxbuild.workers.compile.qaic.card_latency import latency_of
from onnxbuild.workers.compile.qaic.host_double import HostDouble
from onnxbuild.workers.compile.qaic.retained_decoding import PADDING, Decoder, ProgramShape
from onnxbuild.workers.engines.compiled.compiled_model import Call, CompiledModel

_CONTINUED = 32  # tokens by which a benchmark continues a sample


class QaicModel(CompiledModel):
    """The engine of a variant for Cloud AI 100."""

    place: ClassVar[Place] = HOST_DOUBLE

    def __init__(self, folder: Path, record: CompiledRecord, *, threads: int) -> None:
        """Open the program on a card, or its graph under the contract of the program.

        Errors: CheckFailed OBE233 for a program of another SDK, OBE234 for a record without a setting.
        """
        _check(record)
        if self.place_here(record) == "device":
            self.uses_threads = False
            devices = record.settings["devices"]
            self.session: CardSession | HostDouble = CardSession(
                folder / PROGRAM_FOLDER, folder, sdk_modules(), devices=devices
            )
        else:
            self.session = HostDouble(folder / GRAPH, folder, threads=threads)
        super().__init__(folder, record, threads=threads)

    @classmethod
    def place_here(cls, record: CompiledRecord) -> Place:
        """On the card, if there is a program and a card."""
        return "device" if record.state == "compiled" and has_card() else cls.place

    def open_file(self, path: Path, stage: CompiledStage) -> Call:  # noqa: ARG002  (the session has it open)
        """Nothing: a method here would be a cycle, which keeps the program on the card until it is collected."""
        return _not_called

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
        self._check_fits([prompt], new_tokens)
        decoder = Decoder(self.session, self.program, stops=stops, told=told)
        return decoder.decode([prompt], new_tokens).tokens[0]

    def latency(
        self, prompts: Callable[[], Sequence[Sequence[int]]], new_tokens: int, stops: Collection[int]
    ) -> dict[str, Any]:
        """Continue all prompts, and say how long that took; making the tokens counts as a part of the first answer."""
        started = time.perf_counter()
        texts = prompts()
        self._check_fits(texts, new_tokens)
        decoder = Decoder(self.session, self.program, stops=stops)
        return latency_of(decoder.decode(texts, new_tokens, started=started), self.session.device)

    def latency_after(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The same for samples, which are continued by a few tokens; empty for an encoder."""
        if not self.record.settings["decodes"]:
            return {}
        texts = _texts(feeds)
        room = self.program.context - max(map(len, texts))
        return self.latency(lambda: texts, max(1, min(_CONTINUED, room)), ())

    def prepare(self, stage: str, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """What a benchmark times: of a decoder, reading the texts as prompts, up to their first new tokens."""
        complete = self.complete(stage, feeds)
        if not self.record.settings["decodes"]:
            return lambda: self._encode(complete)
        texts = _texts(complete)
        return lambda: Decoder(self.session, self.program).decode(texts, 1)

    def run(self, stage: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of whole texts by name, for a validation."""
        complete = self.complete(stage, feeds)
        values = self._forward(complete) if self.record.settings["decodes"] else self._encode(complete)
        return dict(zip(self.outputs(stage), values, strict=True))

    def _forward(self, feeds: Mapping[str, np.ndarray]) -> Sequence[Any]:
        ids = feeds["input_ids"]
        mask: np.ndarray = feeds["attention_mask"].astype(bool)
        logits = [self._logits(text) for text in _texts(feeds)]
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

    def _check_fits(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> None:
        """The cache holds the prompt and all new tokens but the last."""
        longest, context = max(map(len, prompts)), self.program.context
        self._check_length(longest)
        room = context + 1 - longest
        if new_tokens > room:
            message = f"a prompt of {longest} tokens and {new_tokens} new ones do not fit the cache of {context}"
            hint = f"raise `ctx_len`, or write `max_new_tokens: {room}`"
            raise CheckFailed("OBE241", message, notes=[("hint", hint)])

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


def _check(record: CompiledRecord) -> None:
    missing = next((name for name in ("decodes", "devices") if name not in record.settings), None)
    if missing is not None:
        message = f"`compiled.json` lacks `{missing}`, without which the program cannot be run"
        raise CheckFailed("OBE234", message, notes=[("hint", "compile it again")])
    check_program(record)


def _not_called(_feeds: Mapping[str, np.ndarray]) -> Sequence[Any]:
    raise AssertionError("BUG: the engine runs its session itself")


def _texts(feeds: Mapping[str, np.ndarray]) -> list[list[int]]:
    """The tokens of each row, without the padding."""
    rows = zip(feeds["input_ids"], feeds["attention_mask"].astype(bool), strict=True)
    return [[int(token) for token in row[seen]] for row, seen in rows]


def _padded(values: np.ndarray, rows: int, length: int) -> np.ndarray:
    padded: np.ndarray = np.pad(values, [(0, rows - len(values)), (0, length - values.shape[1])])
    return padded
