"""The rows of a dataset of recordings or pictures: the content of each file, and what is right where that is known."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.bounds.labels_of_rows import LABEL
from onnxbuild.tables.tasks import TEXT, file_role, row_columns
from onnxbuild.workers.inputs.dataset_texts import records
from onnxbuild.workers.validate.by_task.given_labels import class_of_label


class MediaRow(Struct, frozen=True, kw_only=True):
    """A file's content with the place of its row; `right` is what is said, or a class, and None if it is unknown."""

    place: str
    content: bytes
    right: Any = None


def media_rows(folder: Path, params: ValidateParams, config: Mapping[str, Any]) -> Iterator[MediaRow]:
    """The chosen rows, one by one.

    Errors: CheckFailed OBE58 if a column is missing, OBE68 for an unknown label, OBE140 if there is no such file.
    """
    role = file_role(params.task)
    roles = row_columns(params.task, params.rows.columns)
    wanted = (*roles, LABEL) if params.reads_labels else roles
    for place, values in records(folder, params.rows, wanted, samples=params.samples, seed=params.seed):
        right = class_of_label(values[LABEL], config, place) if params.reads_labels else values.get(TEXT)
        yield MediaRow(place=place, content=_content(folder, values[role], place), right=right)


def _content(folder: Path, value: Any, place: str) -> bytes:
    """What a cell holds or names: bytes, `{bytes: …}` as `datasets` writes it, or a path below the folder."""
    inside = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(inside, bytes):
        return inside
    named = value.get("path") if isinstance(value, dict) else value
    path = folder / posixpath.normpath(named) if isinstance(named, str) and named else None
    # Only planning decides which files are inputs: whatever else a row names, the key of the check does not cover it.
    if path is None or ".." in Path(str(named)).parts or not path.is_file():
        raise CheckFailed(
            "OBE140",
            f"{place} has no file that can be read: {_shown(value)}",
            notes=[("hint", "rows of .jsonl and .csv name files beside them; rows of .parquet hold their content")],
        )
    return path.read_bytes()


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


_MOST_SHOWN = 80
