"""Whole numbers with a decimal point: JSON Schema counts `18.0` as an integer, so editors accept it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.manifest.document import Array, Table

Schema = Mapping[str, Any]


_LARGEST = 2**53  # up to here, a float is the integer that was written


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, or a whole number such as `18.0` that stands for one."""
    if isinstance(value, float):
        return value.is_integer() and abs(value) <= _LARGEST
    return isinstance(value, int) and not isinstance(value, bool)


def settle_whole_numbers(value: Any, schema: Schema, defs: Mapping[str, Schema]) -> None:
    """Replace each float inside a valid value by its integer wherever only an integer is allowed."""
    for holder, key, below in _places(value, list(_branches(schema, defs))):
        branches = [branch for one in below for branch in _branches(one, defs)]
        if isinstance(holder[key], float) and _wants_integer(branches):
            holder[key] = int(holder[key])
        for branch in branches:
            settle_whole_numbers(holder[key], branch, defs)


def _places(value: Any, branches: list[Schema]) -> Iterator[tuple[Any, Any, list[Schema]]]:
    """Each place inside a value: its container, its key, and the schemas that may apply there."""
    if isinstance(value, Table):
        for key in value:
            inner = [one.get("properties", {}).get(key, one.get("additionalProperties")) for one in branches]
            yield value, key, [one for one in inner if isinstance(one, Mapping)]
    elif isinstance(value, Array):
        for index in range(len(value)):
            inner = [_item_schema(one, index) for one in branches]
            yield value, index, [one for one in inner if isinstance(one, Mapping)]


def _item_schema(schema: Schema, index: int) -> Any:
    prefix = schema.get("prefixItems", ())
    return prefix[index] if index < len(prefix) else schema.get("items")


def _branches(schema: Schema, defs: Mapping[str, Schema]) -> Iterator[Schema]:
    if "$ref" in schema:
        yield from _branches(defs[schema["$ref"].rpartition("/")[2]], defs)
    elif "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from _branches(one, defs)
    else:
        yield schema


def _wants_integer(branches: list[Schema]) -> bool:
    types = {one.get("type") for one in branches}
    counts = any(isinstance(one, int) for branch in branches for one in branch.get("enum", ()))
    return "number" not in types and ("integer" in types or counts)
