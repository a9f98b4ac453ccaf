"""Texts from a dataset, read as a stream, so that memory does not grow with the file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.dataset_rows import Rows

_TEXT = "text"
_MOST_SHOWN = 40


def texts(folder: Path, rows: Rows, *, samples: int, seed: int) -> Iterator[str]:
    """The text of `samples` rows, which `records` chooses."""
    found = records(folder, rows, (_TEXT,), samples=samples, seed=seed)
    return (text_of(row[_TEXT], place) for place, row in found)


def records(
    folder: Path, rows: Rows, roles: Sequence[str], *, samples: int, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place (`row 3 of a.csv`, counted from 1) and the value of each role, for `samples` rows chosen by `seed`.

    Rows come in the order of files, by name, and of rows within a file; all of them if there are fewer than `samples`.
    A role is read from the column that `rows.columns` names for it, or else from the column of the same name.
    `rows.limit` and `rows.seed` first choose the rows of the dataset. Errors: CheckFailed OBE58 if a file cannot be
    read or lacks a column, or where no file has rows.
    """
    # Rows of recordings or pictures have these files beside them.
    paths = sorted(path for path in folder.rglob("*") if path.suffix in _READERS and path.is_file())
    counts = [sum(1 for _ in _rows(path)) for path in paths]
    if not sum(counts):
        raise CheckFailed("OBE58", f"{' and '.join(path.name for path in paths)} has no rows")
    wanted = _chosen(sum(counts), rows, samples, seed)
    for path, before in zip(paths, accumulate(counts, initial=0), strict=False):
        for number, row in enumerate(_rows(path)):
            if before + number in wanted:
                values = {role: _value(row, role, rows.columns.get(role, role), path.name) for role in roles}
                yield f"row {number + 1} of {path.name}", values


def _chosen(count: int, rows: Rows, samples: int, seed: int) -> frozenset[int]:
    numbers = np.arange(count)
    for limit, chance in ((rows.limit, rows.seed), (samples, seed)):
        if limit is not None and limit < len(numbers):
            numbers = np.random.default_rng(chance).choice(numbers, limit, replace=False)
    return frozenset(numbers.tolist())


def _value(row: Mapping[str, Any], role: str, column: str, name: str) -> Any:
    if column not in row:
        near = did_you_mean(column, row) or f"it has {', '.join(row)}"
        raise CheckFailed(
            "OBE58",
            f"{name} has no column `{column}`",
            notes=[("hint", f"{near}; set it with `columns: {{{role}: …}}`")],
        )
    return row[column]


def text_of(value: Any, place: str) -> str:
    """A value of a column of text; empty for null. Errors: CheckFailed OBE58 for a list or an object."""
    if isinstance(value, (list, dict)):
        kind = "a list" if isinstance(value, list) else "an object"
        raise CheckFailed("OBE58", f"{place} has {kind} where a text is expected: {str(value)[:_MOST_SHOWN]}")
    return "" if value is None else str(value)


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        yield from _READERS[path.suffix](path)
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise CheckFailed("OBE58", f"{path.name} cannot be read: {error}") from error


def _jsonl(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _object(line, number)


def _object(line: str, number: int) -> Mapping[str, Any]:
    """The row of one line. Errors: ValueError, TypeError with the number of the line."""
    try:
        row = json.loads(line.strip())
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from error
    if not isinstance(row, dict):
        raise TypeError(f"line {number} is no object with columns: {line.strip()[:_MOST_SHOWN]}")
    return row


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or ()
        if len(set(names)) < len(names):
            raise ValueError(f"two columns have the same name: {', '.join(names)}")
        for row in reader:
            if None in row:
                raise ValueError(f"line {reader.line_num} has more values than columns: quote a text with a comma")
            yield row


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise CheckFailed(
            "OBE53",
            "reading .parquet needs pyarrow, which is not installed",
            notes=[("hint", "run `pip install pyarrow`, or save the file as .jsonl")],
        ) from error
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256):
            yield from batch.to_pylist()


_READERS = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
