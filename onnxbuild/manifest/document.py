"""A YAML document as values that know their places: tables, arrays, and descriptions of scalars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxbuild.diagnostics import Span

_LONGEST_SCALAR = 60  # characters of a scalar that a message shows


class Table(dict[str, Any]):
    """A mapping. `keys_at` and `values_at` hold one span per written key, `span` is that of the whole mapping."""

    __slots__ = ("keys_at", "span", "values_at", "weight")

    def __init__(self, span: Span, items: Mapping[str, Any] | None = None) -> None:
        super().__init__(items or {})
        self.span = span
        self.keys_at: dict[str, Span] = {}
        self.values_at: dict[str, Span] = {}
        self.weight = 1  # nodes below, with aliases written out

    def put(self, key: str, value: Any, key_at: Span, value_at: Span) -> None:
        """Set a key with its places."""
        self[key] = value
        self.keys_at[key] = key_at
        self.values_at[key] = value_at

    def key_span(self, key: str) -> Span:
        """The place of a key, or of the whole mapping if the key was not written."""
        return self.keys_at.get(key, self.span)

    def value_span(self, key: str) -> Span:
        """The place of a value, or of the whole mapping where its key was not written."""
        return self.values_at.get(key, self.span)


class Array(list[Any]):
    """A sequence. `items_at` holds the span of each item, `span` that of the whole sequence."""

    __slots__ = ("items_at", "span", "weight")

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span
        self.items_at: list[Span] = []
        self.weight = 1

    def put(self, value: Any, at: Span) -> None:
        """Append an item with its place."""
        self.append(value)
        self.items_at.append(at)


# Under `defaults:` a source or a matrix would say the same of every model, or be replaced in part.
_NOT_MERGED = ("source", "matrix")


def copy_table(table: Table) -> Table:
    """A new table with the same entries and places."""
    copy = Table(table.span, table)
    copy.keys_at, copy.values_at = dict(table.keys_at), dict(table.values_at)
    copy.weight = table.weight
    return copy


def overlay(base: Table, top: Table) -> Table:
    """A table with the entries of both. Where both have a mapping the two are merged, otherwise `top` wins."""
    merged = copy_table(base)
    merged.span = top.span
    merged.weight = base.weight + top.weight
    for key, value in top.items():
        below = merged.get(key)
        if isinstance(below, Table) and isinstance(value, Table) and key not in _NOT_MERGED:
            merged.put(key, overlay(below, value), top.key_span(key), top.value_span(key))
        else:
            merged.put(key, value, top.key_span(key), top.value_span(key))
    return merged


def describe(value: Any) -> str:
    """A value in words, as YAML sees it: "the string `18`", "a list"."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return f"the boolean `{str(value).lower()}`"
    name = "integer" if isinstance(value, int) else "number" if isinstance(value, float) else "string"
    text = str(value)
    return f"the {name} `{text if len(text) <= _LONGEST_SCALAR else text[: _LONGEST_SCALAR - 3] + '...'}`"
