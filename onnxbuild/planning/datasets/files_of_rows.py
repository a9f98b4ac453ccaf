"""Recordings and pictures that the rows of a dataset name: inputs of a step, as the rows themselves are."""

from __future__ import annotations

import csv
import json
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from onnxbuild.planning.local_files import open_text


class NamedFile(Struct, frozen=True):
    """A file as a row names it: the row, counted from 1, and the name, relative to the folder of the rows."""

    row: int
    name: str


def named_files(path: str, column: str) -> Iterator[NamedFile]:
    """What a column of a file of rows names. Values of another kind are left to the step, which reports them.

    Errors: OSError, ValueError and csv.Error if the rows cannot be read.
    """
    read = _READERS.get(os.path.splitext(path)[1])
    for number, row in enumerate(read(path) if read is not None else (), 1):
        value = row.get(column)
        if isinstance(value, str) and value:
            yield NamedFile(number, value)


def problem_of(named: NamedFile, folder: str) -> str:
    """Why the file cannot be an input; empty if it can: it lies below the folder of the rows, also behind links."""
    name = posixpath.normpath(named.name)
    path = os.path.join(folder, name)
    if os.path.isabs(name) or name.split("/")[0] == "..":
        return "leads out of the folder of the rows"
    # First where a link leads: whether a file outside exists is not for a manifest to find out.
    if os.path.commonpath([os.path.realpath(folder), os.path.realpath(path)]) != os.path.realpath(folder):
        return "is a link that leads out of the folder of the rows"
    return "" if os.path.isfile(path) else "does not exist"


def kept_name(named: NamedFile) -> str:
    """The name as an input has it."""
    return posixpath.normpath(named.name)


def _jsonl(path: str) -> Iterator[Mapping[str, object]]:
    with open_text(path) as file:
        for line in file:
            row = json.loads(line) if line.strip() else None
            if isinstance(row, dict):
                yield row


def _csv(path: str) -> Iterator[Mapping[str, object]]:
    with open_text(path, newline="") as file:
        yield from csv.DictReader(file)


# Rows of Parquet hold the recordings and pictures themselves.
_READERS: Mapping[str, Callable[[str], Iterator[Mapping[str, object]]]] = {".jsonl": _jsonl, ".csv": _csv}
