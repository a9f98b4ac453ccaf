"""Rows of a dataset as a step reads them: which columns, and how many of them."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

# The formats that are read.
ENDINGS = (".jsonl", ".csv", ".parquet")

# The input port through which a step gets the dataset that its params name.
PORT = "dataset"


class Rows(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the manifest says of a dataset beside its source: role → column, and the choice of rows."""

    columns: Mapping[str, str] = {}
    limit: int | None = None
    seed: int = 0
