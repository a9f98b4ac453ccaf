"""Rows of a dataset as a step reads them: which columns, how many rows, and how much of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from onnxbuild.steps.kind import Context, Fault

# The file formats that can be read.
ENDINGS = (".jsonl", ".csv", ".parquet")

# The input port through which a step gets the dataset that its params name.
PORT = "dataset"


class Rows(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the manifest says about a dataset besides its source."""

    columns: Annotated[Mapping[str, str], Meta(description="the column of each role")] = {}
    limit: Annotated[int | None, Meta(description="maximum number of rows to use")] = None
    seed: Annotated[int, Meta(description="seed that chooses rows if there are more than `limit`")] = 0


# Of one call. Their ids and masks take 1 GB, and the values of a small model a hundred times that.
_MOST_TOKENS = 1 << 26

# Fields that the params of several kinds share.
Dataset = Annotated[str, Meta(description="name of the dataset to read, one of `datasets:`")]
Samples = Annotated[int, Meta(description="number of rows to read from the dataset, 1 or more")]
Sequence = Annotated[int, Meta(description="maximum number of tokens per row; longer rows are cut")]
RowSeed = Annotated[int, Meta(description="seed that chooses the rows")]
DerivedRows = Annotated[Rows, Meta(description="columns and choice of rows, from the dataset's block")]


def check_counts(params: Any) -> Iterator[Fault]:
    """OB612 for a number of rows or tokens below one."""
    for field in ("samples", "sequence"):
        if getattr(params, field) < 1:
            yield Fault(code="OB612", field=field, message=f"`{field}` expects a number from 1")


def check_halves(params: Any) -> Iterator[Fault]:
    """OB612 for a search with one row: it is measured on one half of the rows, and judged on the other."""
    if params.samples == 1:
        message = (
            "`samples` expects a number from 2: a search is measured on one half of the texts, and judged on the other"
        )
        yield Fault(code="OB612", field="samples", message=message)


def check_call(field: str, batch: int, sequence: int) -> Iterator[Fault]:
    """OB616 for more tokens in one call than any model computes: they would fill the memory before anything fails."""
    if batch * sequence > _MOST_TOKENS:
        message = f"{batch:,} × {sequence:,} are {batch * sequence:,} tokens in one call, at most {_MOST_TOKENS:,} fit"
        yield Fault(code="OB616", field=field, message=message, hint="use fewer samples, or shorter ones")


def check_cut(params: Any, context: Context) -> Iterator[Fault]:
    """OB620 as a warning: rows are cut to the model's positions, whatever a longer `sequence` says."""
    context = context.of_one_call
    positions = context.positions
    if positions is not None and "sequence" in context.written and params.sequence > positions:
        yield Fault(
            code="OB620",
            field="sequence",
            severity="warning",
            message=f"rows of {params.sequence} tokens are cut to {context.limit}",
            hint=f"write `sequence: {positions}` or less",
        )


def check_length(field: str, sequence: int, context: Context) -> Iterator[Fault]:
    """OB620 for a length that the model has no positions for; a decoder needs one more for its next token."""
    context = context.of_one_call
    positions = context.positions
    needed = sequence + 1 if context.family == "decoder" else sequence
    if positions is not None and needed > positions:
        step = " and the token after them" if needed > sequence else ""
        yield Fault(
            code="OB620",
            field=field,
            message=f"{sequence} tokens{step} do not fit {context.limit}",
            hint=f"use at most {positions - needed + sequence} tokens in `{field}`",
        )
