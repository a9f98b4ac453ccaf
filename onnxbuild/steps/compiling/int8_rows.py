"""The params of backends that only int8 reads: the rows of text on which its ranges are measured."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from onnxbuild.steps.dataset_rows import check_counts, check_cut
from onnxbuild.steps.kind import Context, Fault
from onnxbuild.tables.positions import may_read_text
from onnxbuild.tables.tasks import reads_text_rows

DATA = ("dataset", "samples", "sequence", "seed")


def check_unread(field: str, names: Collection[str], context: Context) -> Iterator[Fault]:
    """OB805 for params that only int8 reads, in a block without it. `field`: the param that asks for int8."""
    for name in names:
        if name in context.written:
            message = f"`{name}` has no effect without `{field}: int8`"
            yield Fault(code="OB805", field=name, message=message, hint="remove it")


def check_rows(field: str, params: Any, context: Context, *, instead: str) -> Iterator[Fault]:
    """OB612 and OB620 for the numbers of rows and tokens, OB804 for a model that reads no text.

    `instead`: what such a model can have.
    """
    yield from check_counts(params)
    yield from check_cut(params, context)
    if not reads_text_rows(context.task) or not may_read_text(context.config):
        message = f"`{field}: int8` calibrates with texts, and models of the task `{context.task}` do not read text"
        yield Fault(code="OB804", field=field, message=message, hint=f"use `{instead}`, which needs no data")
