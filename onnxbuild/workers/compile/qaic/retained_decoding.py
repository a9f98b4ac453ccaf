"""Greedy text from a program that keeps its cache: prompts in chunks, then token by token.

The session is whatever runs the program: a card, or its host double. Both have `run(feeds)`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from msgspec import Struct

from onnxbuild.workers.compile.qaic.card_program import Specialization

PADDING = -1  # the position of a token that is none


class CardSession(Protocol):
    """What runs a compiled program."""

    device: str

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, without the cache."""


class ProgramShape(Struct, frozen=True):
    """The sizes of a program. `rows` is the number of texts at a time; `batched`: rows are filled one by one."""

    chunk: int
    context: int
    rows: int
    batched: bool

    @staticmethod
    def of(specializations: Sequence[Specialization]) -> ProgramShape:
        """The sizes that a set of specializations has: the first is for prompts, the last for single tokens."""
        prompt, token = specializations[0].symbols, specializations[-1].symbols
        full = token.get("full_batch_size")
        rows = token["batch_size"] if full is None else full
        return ProgramShape(prompt["seq_len"], prompt["ctx_len"], rows, full is not None)


class Decoded(Struct, frozen=True, kw_only=True):
    """The tokens of each prompt, and seconds: of the prompts, of single tokens, and of everything."""

    tokens: tuple[tuple[int, ...], ...]
    prefill_seconds: float
    decode_seconds: float
    total_seconds: float
    decoded: int  # tokens that runs of single tokens gave
    prefills: int  # times that prompts were read, for all rows of the program or for one


class _Row:
    """One text on its way: which prompt it continues, and how many tokens the cache has of it."""

    def __init__(self, number: int, prompt: Sequence[int]) -> None:
        self.number, self.length = number, len(prompt)
        self.tokens: list[int] = []


class Decoder:
    """Continues prompts with one session."""

    def __init__(
        self,
        session: CardSession,
        shape: ProgramShape,
        *,
        stops: Collection[int] = (),
        clock: Callable[[], float] = time.perf_counter,
        told: Callable[[int], Any] = lambda _token: None,
    ) -> None:
        """Take a session with the sizes of its program; a token in `stops` ends its text, `told` gets every token."""
        self._session, self._shape, self._stops = session, shape, frozenset(stops)
        self._clock, self._told = clock, told

    def decode(self, prompts: Sequence[Sequence[int]], new_tokens: int, *, started: float | None = None) -> Decoded:
        """Continue every prompt by `new_tokens` at most. `started` is when the texts began to be tokenized.

        Prompts beyond the rows of the program wait: for all rows, or, if it is batched, for the first that is free.
        """
        start = self._clock() if started is None else started
        self._prefill_seconds = self._decode_seconds = 0.0
        self._decoded, self._prefills, self._limit = 0, 0, new_tokens
        found: dict[int, list[int]] = {}
        waiting = deque(enumerate(prompts))
        rows: list[_Row | None] = [None] * self._shape.rows
        while waiting or any(rows):
            self._fill(rows, waiting, first=start if not found and not any(rows) else None)
            self._finish(rows, found)
            if any(rows):
                self._step(rows)
                self._finish(rows, found)
        return Decoded(
            tokens=tuple(tuple(found[number]) for number in range(len(prompts))),
            prefill_seconds=self._prefill_seconds,
            decode_seconds=self._decode_seconds,
            total_seconds=self._clock() - start,
            decoded=self._decoded,
            prefills=self._prefills,
        )

    def _fill(self, rows: list[_Row | None], waiting: deque[tuple[int, Sequence[int]]], first: float | None) -> None:
        """Read prompts into free rows. A program that is not batched reads all its rows at once."""
        free = [place for place, row in enumerate(rows) if row is None]
        if not waiting or not free or (not self._shape.batched and len(free) < len(rows)):
            return
        begun = self._clock() if first is None else first
        taken = {place: waiting.popleft() for place in free[: len(waiting)]}
        for place, (number, prompt) in taken.items():
            rows[place] = _Row(number, prompt)
        groups = [{0: (place, prompt)} for place, (_, prompt) in taken.items()]
        if not self._shape.batched:
            groups = [{place: (place, prompt) for place, (_, prompt) in taken.items()}]
        for group in groups:
            self._read(rows, group)
        self._prefill_seconds += self._clock() - begun

    def _read(self, rows: list[_Row | None], group: Mapping[int, tuple[int, Sequence[int]]]) -> None:
        """Read prompts chunk by chunk; by the place in the batch: the row, and the prompt."""
        self._prefills += 1
        batch = 1 if self._shape.batched else self._shape.rows
        longest = max(len(prompt) for _, prompt in group.values())
        index = np.array([[row] for row, _ in group.values()], np.int64) if self._shape.batched else None
        for begin in range(0, longest, self._shape.chunk):
            ids: np.ndarray = np.zeros((batch, self._shape.chunk), np.int64)
            positions = np.full_like(ids, PADDING)
            for place, (_, prompt) in group.items():
                part = prompt[begin : begin + self._shape.chunk]
                ids[place, : len(part)] = part
                positions[place, : len(part)] = range(begin, begin + len(part))
            logits = self._run(ids, positions, index)
            for place, (row, prompt) in group.items():
                if begin < len(prompt) <= begin + self._shape.chunk:  # a shorter text ends in an earlier chunk
                    self._append(rows, row, logits[place])

    def _step(self, rows: list[_Row | None]) -> None:
        """One more token for every text."""
        begun = self._clock()
        ids: np.ndarray = np.zeros((len(rows), 1), np.int64)
        positions = np.full_like(ids, PADDING)
        for place, row in enumerate(rows):
            if row is not None:
                ids[place], positions[place] = row.tokens[-1], row.length
                row.length += 1
        index = np.arange(len(rows))[:, None] if self._shape.batched else None
        logits = self._run(ids, positions, index)
        for place, row in enumerate(rows):
            if row is not None:
                self._append(rows, place, logits[place])
                self._decoded += 1
        self._decode_seconds += self._clock() - begun

    def _run(self, ids: np.ndarray, positions: np.ndarray, index: np.ndarray | None) -> np.ndarray:
        feeds = {"input_ids": ids, "position_ids": positions} | ({} if index is None else {"batch_index": index})
        return self._session.run(feeds)["logits"][:, -1]

    def _append(self, rows: list[_Row | None], place: int, logits: np.ndarray) -> None:
        row = rows[place]
        assert row is not None, "BUG: a token for a row without a text"
        row.tokens.append(int(logits.argmax()))
        self._told(row.tokens[-1])

    def _finish(self, rows: list[_Row | None], found: dict[int, list[int]]) -> None:
        """Free the rows whose text has ended, or whose cache is full."""
        for place, row in enumerate(rows):
            if row is not None and self._has_ended(row):
                found[row.number] = row.tokens
                rows[place] = None

    def _has_ended(self, row: _Row) -> bool:
        full = row.length >= self._shape.context
        return full or len(row.tokens) >= self._limit or row.tokens[-1] in self._stops
