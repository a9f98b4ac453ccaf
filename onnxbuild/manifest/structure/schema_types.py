"""The manifest's schema as msgspec types: a conversion to them accepts what is valid, in C and without jsonschema.

The types are made from the schema rather than from the language's structs, so that the two cannot drift apart. They
are stricter than the schema in one point: a whole number such as `18.0` is not an integer to msgspec. Where a schema
uses a keyword that the types cannot express (a plugin may bring one), `Undecidable` leaves the decision to jsonschema.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from types import GenericAlias
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import UNSET, Meta, Struct

Schema = Mapping[str, Any]
Subschema = Mapping[str, Any] | bool  # true accepts every value, false none
Check = Callable[[Any], bool]

_ANNOTATIONS = frozenset({
    "$comment", "$defs", "$schema", "default", "deprecated", "description", "examples", "patternErrorMessage",
    "title", "x-place",
})  # fmt: skip
_BOUNDS = {
    "minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt", "multipleOf": "multiple_of",
    "minLength": "min_length", "maxLength": "max_length", "minItems": "min_length", "maxItems": "max_length",
}  # fmt: skip
_SCALARS: Mapping[str, Any] = {"boolean": bool, "integer": int, "number": float, "null": None}


class Undecidable(Exception):  # noqa: N818 - not an error: it leaves the decision to jsonschema
    """A schema that msgspec's types cannot express."""


class SchemaTypes:
    """The types of schemas whose references point into `defs`."""

    def __init__(self, defs: Mapping[str, Schema]) -> None:
        self._defs = defs
        self._structs: dict[int, Any] = {}  # by the identity of their schemas, which `defs` keeps alive

    def of(self, schema: Subschema) -> Any:
        """The type of a schema. Errors: Undecidable."""
        if schema is False:
            raise Undecidable("a schema that accepts no value")
        if schema is True or not _constraints(schema):
            return Any
        branches = list(self._branches(schema))
        if len(branches) == 1:
            return self._single(branches[0])
        return self._union(branches)

    def _union(self, branches: list[Schema]) -> Any:
        others = [one for one in branches if not _is_text(one)]
        chosen = self.choosing_key([one for one in others if one.get("type") == "object"])
        if chosen is None and len({_family(one) for one in others}) < len(others):
            raise Undecidable("two branches of one type")
        made = [
            self._single(one) if chosen is None or one.get("type") != "object" else self._object(one, tag=chosen)
            for one in others
        ]
        texts = [one for one in branches if _is_text(one)]
        if texts:
            made.append(str if _is_loose(branches) else _any_text(texts))
        return Union[tuple(made)]  # noqa: UP007 - a computed union

    def choosing_key(self, blocks: list[Schema]) -> str | None:
        """The key that says which of several blocks a value is: each needs it, with another word."""
        if len(blocks) < 2:  # noqa: PLR2004 - one block needs no choice
            return None
        shared = [key for key in blocks[0].get("required", ()) if all(key in one.get("required", ()) for one in blocks)]
        words = {key: [self.word(one["properties"][key]) for one in blocks] for key in shared}
        found = (key for key, of in words.items() if None not in of and len(set(of)) == len(blocks))
        return next(found, None)

    def word(self, schema: Schema) -> str | None:
        """The one word that a field may have besides references; None if it may have others."""
        enums = [one["enum"] for one in self._branches(schema) if "enum" in one]
        return str(enums[0][0]) if len(enums) == 1 and len(enums[0]) == 1 else None

    def _branches(self, schema: Schema) -> Iterator[Schema]:
        """The branches of a union, nested unions included; a schema that is not a union is its own branch."""
        if "$ref" in schema:
            _expect(schema, {"$ref"})
            yield from self._branches(self._defs[schema["$ref"].rpartition("/")[2]])
        elif "anyOf" in schema:
            _expect(schema, {"anyOf"})
            for branch in schema["anyOf"]:
                yield from self._branches(branch)
        else:
            yield schema

    def _single(self, schema: Schema) -> Any:
        if "enum" in schema:
            _expect(schema, {"enum", "type"})
            return _literal(schema["enum"])
        kind = schema.get("type")
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind == "string":
            return _any_text([schema])
        if not isinstance(kind, str) or kind not in _SCALARS:
            raise Undecidable(f"the type {kind}")
        return _bounded(_SCALARS[kind], schema, {"type"})

    def _object(self, schema: Schema, *, tag: str | None = None) -> Any:
        others = schema.get("additionalProperties", True)
        if not schema.get("properties") and others is not False:
            _expect(schema, {"type", "properties", "additionalProperties"})
            return GenericAlias(dict, (str, self.of(others)))
        if others is not False:
            return self._suggested(schema, others)
        if id(schema) not in self._structs:
            self._structs[id(schema)] = Undecidable  # what refers to itself is left to jsonschema
            self._structs[id(schema)] = self._struct(schema, tag)
        if self._structs[id(schema)] is Undecidable:
            raise Undecidable("a schema that refers to itself")
        return self._structs[id(schema)]

    def _struct(self, schema: Schema, tag: str | None) -> type[Struct]:
        """The type of a block; `tag` is the key whose word says that a value is this block."""
        counted = {"minProperties", "maxProperties"} if tag is None else set()
        _expect(schema, {"type", "properties", "required", "additionalProperties", *counted})
        # Keys need not be identifiers: the fields have neutral names, and the keys are kept beside them.
        renamed = {f"field_{number}": key for number, key in enumerate(schema.get("properties", ())) if key != tag}
        return msgspec.defstruct(
            schema.get("title", "Block"),
            [(name, *self._field(schema, key)) for name, key in renamed.items()],
            namespace=_afterwards([*_count_checks(schema, list(renamed)), *self._text_checks(schema, renamed)]),
            forbid_unknown_fields=True,
            kw_only=True,
            rename=renamed,
            tag_field=tag,
            tag=None if tag is None else self.word(schema["properties"][tag]),
        )

    def _field(self, schema: Schema, key: str) -> tuple[Any, ...]:
        made = self.of(schema["properties"][key])
        return (made,) if key in schema.get("required", ()) else (made, UNSET)

    def _text_checks(self, schema: Schema, renamed: Mapping[str, str]) -> Iterator[Check]:
        """What the types of a struct's fields leave open about texts."""
        for name, key in renamed.items():
            check = self._text_check(schema["properties"][key])
            if check is not None:
                yield functools.partial(_field_passes, name, check)

    def _text_check(self, schema: Subschema) -> Check | None:
        """Whether the texts of a value fit, where its type is loose; None if it is not. Structs check their own."""
        branches = [] if isinstance(schema, bool) else list(self._branches(schema))
        pattern = _joined([one for one in branches if _is_text(one)]) if _is_loose(branches) else None
        items = next((self._text_check(one["items"]) for one in branches if "items" in one), None)
        others = [
            one["additionalProperties"] for one in branches if _is_container(one) and "additionalProperties" in one
        ]
        values = self._text_check(others[0]) if others else None
        if pattern is None and items is None and values is None:
            return None
        return functools.partial(_texts_fit, re.compile(pattern or ""), items or _passes, values or _passes)

    def _suggested(self, schema: Schema, others: Subschema) -> Any:
        """A mapping with free keys, of which some are named so that an editor completes them."""
        _expect(schema, {"type", "properties", "additionalProperties"})
        wanted = _constraints(others)
        if any(_constraints(one) != wanted for one in schema["properties"].values()):
            raise Undecidable("named keys and free ones of another type")
        return GenericAlias(dict, (str, self.of(others)))

    def _array(self, schema: Schema) -> Any:
        if "prefixItems" not in schema:
            return _bounded(GenericAlias(list, (self.of(schema.get("items", True)),)), schema, {"type", "items"})
        _expect(schema, {"type", "prefixItems", "items", "minItems", "maxItems"})
        items = tuple(self.of(one) for one in schema["prefixItems"])
        if not schema.get("minItems") == schema.get("maxItems") == len(items):
            raise Undecidable("a list of variable length with items by position")
        if any(self._text_check(one) is not None for one in schema["prefixItems"]):
            raise Undecidable("a loose type inside a list with items by position")
        return GenericAlias(tuple, items)


def _constraints(schema: Subschema) -> Mapping[str, Any]:
    """What a schema demands, without what it merely says."""
    return {} if isinstance(schema, bool) else {key: one for key, one in schema.items() if key not in _ANNOTATIONS}


def _expect(schema: Schema, keywords: set[str]) -> None:
    others = set(_constraints(schema)) - keywords
    if others:
        raise Undecidable(f"the keywords {sorted(others)}")


def _bounded(made: Any, schema: Schema, keywords: set[str]) -> Any:
    _expect(schema, keywords | set(_BOUNDS))
    bounds = {_BOUNDS[key]: schema[key] for key in _BOUNDS if key in schema}
    return Annotated[made, Meta(**bounds)] if bounds else made


def _is_text(schema: Schema) -> bool:
    return schema.get("type") == "string" or ("enum" in schema and all(isinstance(one, str) for one in schema["enum"]))


def _family(schema: Schema) -> str:
    return "integer" if "enum" in schema else str(schema.get("type"))


def _any_text(branches: list[Schema]) -> Any:
    """The type of a text that fits one of several branches: msgspec has one for each union, so patterns are joined."""
    if len(branches) == 1 and "enum" in branches[0]:
        return _literal(branches[0]["enum"])
    if len(branches) == 1 and "pattern" not in branches[0]:
        return _bounded(str, branches[0], {"type"})
    pattern = _joined(branches)
    return Annotated[str, Meta(pattern=pattern)] if pattern else str


def _joined(branches: list[Schema]) -> str | None:
    """One pattern for the texts that fit any of several branches; None if every text fits."""
    for branch in branches:
        _expect(branch, {"type", "enum", "pattern"})
    if any(not {"enum", "pattern"} & branch.keys() for branch in branches):
        return None
    return "|".join(f"(?:{one.get('pattern') or _one_of(one['enum'])})" for one in branches)


def _one_of(values: list[str]) -> str:
    return rf"\A(?:{'|'.join(re.escape(one) for one in values)})\Z"


def _texts_fit(pattern: re.Pattern[str], items: Check, values: Check, value: Any) -> bool:
    if isinstance(value, str):
        return pattern.search(value) is not None
    if isinstance(value, list):
        return all(map(items, value))
    return all(map(values, value.values())) if isinstance(value, dict) else True


def _field_passes(name: str, check: Check, block: Struct) -> bool:
    return check(getattr(block, name))


def _passes(_value: Any) -> bool:
    return True


def _literal(values: list[Any]) -> Any:
    if all(type(one) is str for one in values) or all(type(one) is int for one in values):
        return Literal[tuple(values)]  # a computed literal
    raise Undecidable("values of several types")


def _is_loose(branches: list[Schema]) -> bool:
    """Whether a union's texts are checked after the conversion.

    msgspec 0.22 corrupts memory when the type of a list or a mapping beside a string with a pattern is freed.
    """
    return any(_is_text(one) for one in branches) and any(map(_is_container, branches))


def _is_container(schema: Schema) -> bool:
    is_struct = schema.get("additionalProperties", True) is False
    return schema.get("type") == "array" or (schema.get("type") == "object" and not is_struct)


def _count_checks(schema: Schema, fields: list[str]) -> Iterator[Check]:
    """How many keys a struct has, if the schema bounds it: a constraint that msgspec lacks."""
    least, most = schema.get("minProperties", 0), schema.get("maxProperties", len(fields))
    if (least, most) != (0, len(fields)):
        yield lambda block: least <= sum(getattr(block, name) is not UNSET for name in fields) <= most


def _afterwards(checks: list[Check]) -> dict[str, Any]:
    """The method with which a struct refuses what its types let through."""
    if not checks:
        return {}

    def check(block: Struct) -> None:
        if not all(one(block) for one in checks):
            raise ValueError("refused after the conversion")

    return {"__post_init__": check}
