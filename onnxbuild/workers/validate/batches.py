"""Rows in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from onnxbuild.workers.inputs.sample_source import Source

_MOST_ROWS = 16  # of a batch
_MOST_TOKENS = 2048  # of a batch: beyond it a larger batch is no faster on a CPU
_MOST_LOGITS = 1 << 25  # 128 MB of next-token logits per side; metrics keep a few copies of them


class _HasIds(Protocol):
    @property
    def ids(self) -> Sequence[int]: ...


Row = TypeVar("Row", bound=_HasIds)


def in_batches(rows: Sequence[Row], source: Source) -> Iterator[list[Row]]:
    """Consecutive rows, as many as the limits allow; rows come sorted by length."""
    tokens = min(_MOST_TOKENS, _MOST_LOGITS // int(source.text.get("vocab_size") or 1000))
    most = 1 if source.even else _MOST_ROWS
    batch: list[Row] = []
    for row in rows:
        if batch and (len(batch) == most or (len(batch) + 1) * len(row.ids) > tokens):
            yield batch
            batch = []
        batch.append(row)
    yield batch
