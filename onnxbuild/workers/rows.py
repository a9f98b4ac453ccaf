"""Texts from a dataset, read as a stream: what is held in memory does not grow with the file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.steps.kind import CheckFailed
from onnxbuild.steps.rows import Rows

_TEXT = "text"  # the role, and the column where no other is named


def texts(folder: Path, rows: Rows, *, samples: int, seed: int) -> Iterator[str]:
    """The text of `samples` rows, chosen by `seed`, in the order of the file; of all rows where there are fewer.

    `rows.limit` and `rows.seed` choose first what the dataset is. Errors: CheckFailed OBE58 where the file cannot be
    read or has no such column.
    """
    path = next(iter(sorted(folder.iterdir())))
    wanted = _chosen(sum(1 for _ in _rows(path)), rows, samples, seed)
    column = rows.columns.get(_TEXT, _TEXT)
    for number, row in enumerate(_rows(path)):
        if number in wanted:
            yield _text(row, column, path.name)


def _chosen(count: int, rows: Rows, samples: int, seed: int) -> frozenset[int]:
    numbers = np.arange(count)
    for limit, chance in ((rows.limit, rows.seed), (samples, seed)):
        if limit is not None and limit < len(numbers):
            numbers = np.random.default_rng(chance).choice(numbers, limit, replace=False)
    return frozenset(numbers.tolist())


def _text(row: Mapping[str, Any], column: str, name: str) -> str:
    if column not in row:
        near = did_you_mean(column, row) or f"it has {', '.join(row)}"
        message = f"{name} has no column `{column}`"
        raise CheckFailed("OBE58", message, notes=[("hint", f"{near}; `columns: {{text: …}}` names it")])
    return str(row[column])


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        yield from _READERS[path.suffix](path)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise CheckFailed("OBE58", f"{path.name} cannot be read: {error}") from error


def _jsonl(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        message = "reading .parquet needs pyarrow, which is not installed"
        raise CheckFailed("OBE53", message, notes=[("hint", "`pip install pyarrow`, or save it as .jsonl")]) from error
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256):
            yield from batch.to_pylist()


_READERS = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
