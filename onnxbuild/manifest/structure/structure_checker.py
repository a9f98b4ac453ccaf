"""The structural check of a document against the manifest's schema.

msgspec converts what is valid, first and fast (`schema_types`). What it refuses, jsonschema judges: its validator
finds every fault, and decides where the two differ. This module only chooses the branch that a
person meant in a union; `structure_words` words the faults. jsonschema takes longer to import than a thousand models
take to convert, so a valid manifest never imports it.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.reading.budget import MOST_FAULTS
from onnxbuild.manifest.structure.schema_types import Schema, SchemaTypes, Undecidable
from onnxbuild.manifest.structure.structure_words import (
    Broken,
    Place,
    missing_choice,
    not_allowed,
    words_for,
    wrong_type,
)
from onnxbuild.manifest.structure.whole_numbers import is_integer, settle_whole_numbers

ValidationError = Any  # jsonschema's: only a manifest with a fault imports it
_REFERENCE = re.compile(r"(?<!\$)\$\{")
_NEVER = r"\$(?!)"  # the pattern of a reference where none may stand: it matches no text


def block(definition: str) -> Schema:
    """The schema of one block that a definition describes."""
    return {"$ref": f"#/$defs/{definition}"}


def section(definition: str) -> Schema:
    """The schema of a section: blocks by name."""
    return {"type": "object", "additionalProperties": block(definition)}


class Structure:
    """A schema with its definitions, ready to check documents and their blocks."""

    def __init__(self, schema: Schema, *, references: bool = True) -> None:
        """`references`: whether a value may be a reference such as `${vars.name}`."""
        self._references = references
        # jsonschema would choose a validator by `$schema`, in place of the one made here.
        self._schema = {key: value for key, value in schema.items() if key != "$schema"}
        self._types = SchemaTypes(schema["$defs"])

    def faults(self, value: Any, place: Place, schema: Schema | None = None) -> list[Diagnostic]:
        """Every fault of a value against a schema (the whole document's by default), in no particular order."""
        schema = schema or self._schema
        if self.converts(value, schema):
            return []
        report = _Report(value, place, self._schema["$defs"], references=self._references)
        found = (one for error in self._errors(value, schema) for one in report.faults(error))
        return list(itertools.islice(found, MOST_FAULTS))

    def is_valid(self, value: Any, schema: Schema) -> bool:
        """Whether a value has no fault."""
        return self.converts(value, schema) or not self._errors(value, schema)

    def converts(self, value: Any, schema: Schema) -> bool:
        """Whether msgspec accepts a value. If it does not, the value may still be valid."""
        try:
            msgspec.convert(value, self._types.of(schema))
        except (msgspec.ValidationError, Undecidable):
            return False
        return True

    @functools.cached_property
    def without_references(self) -> Structure:
        """The same structure for values in which references have been replaced: `${` there is plain text."""
        defs = {**self._schema["$defs"], "Interpolation": {"type": "string", "pattern": _NEVER}}
        return Structure({**self._schema, "$defs": defs}, references=False)

    def _errors(self, value: Any, schema: Schema) -> list[ValidationError]:
        errors = list(itertools.islice(self._validator.evolve(schema=schema).iter_errors(value), MOST_FAULTS))
        if not errors:
            settle_whole_numbers(value, schema, self._schema["$defs"])
        return errors

    @functools.cached_property
    def _validator(self) -> Any:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend

        checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _checker, value: is_integer(value))
        return extend(Draft202012Validator, type_checker=checker)(self._schema)  # type: ignore[no-untyped-call]


class _Branch(Struct, frozen=True):
    """One branch of a union, references resolved, and the errors of the value against it."""

    schema: Schema
    errors: list[ValidationError]

    @property
    def fits(self) -> bool:
        """Whether the value has the shape of this branch, so that a person may have meant it."""
        return not any(one.validator in {"type", "enum"} and not one.relative_path for one in self.errors)

    def chosen_otherwise(self, key: str | None) -> list[str] | None:
        """What the key that chooses a branch would have to be; None if it is that, or if no key chooses this one."""
        errors = [one for one in self.errors if [*one.relative_path] == [key]]
        return next((names for one in errors if (names := _allowed_by(one))), None)

    @property
    def is_reference(self) -> bool:
        """Whether the branch is `${vars.name}` and the like."""
        return str(self.schema.get("pattern", "")).startswith(r"\$")


def _allowed_by(error: ValidationError) -> list[str]:
    """The words that a broken enum allows, also one that stands beside a reference."""
    branches = error.validator_value if error.validator == "anyOf" else [error.schema]
    return [word for branch in branches for word in branch.get("enum", ())]


class _Report:
    """The faults of one checked value: jsonschema's errors, each in its place and in our words."""

    def __init__(self, root: Any, place: Place, defs: Mapping[str, Schema], *, references: bool) -> None:
        self._root, self._place, self._defs, self._references = root, place, defs, references

    def faults(self, error: ValidationError) -> list[Diagnostic]:
        broken = self._broken(error)
        if broken.keyword == "anyOf":
            return self._of_union(broken, list(self._branches(error)))
        if broken.keyword == "pattern" and self._refers(broken.value):
            return []  # replacing the reference finds what is wrong with it
        return list(itertools.islice(words_for(broken), MOST_FAULTS))

    def _broken(self, error: ValidationError) -> Broken:
        """What jsonschema found, in its place."""
        return Broken(
            keyword=str(error.validator),
            demand=error.validator_value,
            schema=error.schema if isinstance(error.schema, Mapping) else {},
            value=error.instance,
            place=self._place_of(error.absolute_path),
        )

    def _place_of(self, path: Iterable[str | int]) -> Place:
        value, place = self._root, self._place
        for step in path:
            if isinstance(value, Table):
                place = Place(value.value_span(str(step)), value.key_span(str(step)))
            else:
                place = Place(value.items_at[step], value.items_at[step])
            value = value[step]
        return place

    def _of_union(self, broken: Broken, branches: list[_Branch]) -> list[Diagnostic]:
        """The faults against the branch that a person meant, by the shape of the value."""
        if self._refers(broken.value):
            return []  # likewise
        is_scalar = not isinstance(broken.value, (Table, Array))
        meant = [one for one in branches if one.fits and not one.is_reference]
        allowed = [one for branch in branches for one in branch.schema.get("enum", ())]
        if is_scalar and _resembles(broken.value, allowed):
            return [not_allowed(broken.value, allowed, broken.place)]
        key = self._choosing_key(meant)
        if key is not None:
            return self._of_chosen(key, meant, broken)
        if meant and not (is_scalar and allowed):
            return min((self._of_branch(one) for one in meant), key=len)
        return [wrong_type(broken.value, [one.schema for one in branches if not one.is_reference], broken.place)]

    def _of_chosen(self, key: str, blocks: list[_Branch], broken: Broken) -> list[Diagnostic]:
        """The faults against the one of several blocks that the word of a key chooses."""
        if key not in broken.value:
            return [missing_choice(key, self._words(blocks, key), broken.place)]
        if self._refers(broken.value[key]):
            return []  # likewise
        chosen = next((one for one in blocks if one.chosen_otherwise(key) is None), None)
        if chosen is not None:
            return self._of_branch(chosen)
        place = Place(broken.value.value_span(key), broken.value.key_span(key))
        return [not_allowed(broken.value[key], self._words(blocks, key), place)]

    def _choosing_key(self, branches: list[_Branch]) -> str | None:
        """The key whose word says which of several blocks a mapping is; None if no key says it."""
        return SchemaTypes(self._defs).choosing_key([one.schema for one in branches])

    def _words(self, branches: list[_Branch], key: str) -> list[str]:
        """What the key that chooses a branch may be."""
        types = SchemaTypes(self._defs)
        return [str(types.word(one.schema["properties"][key])) for one in branches]

    def _refers(self, value: Any) -> bool:
        return self._references and isinstance(value, str) and _REFERENCE.search(value) is not None

    def _of_branch(self, branch: _Branch) -> list[Diagnostic]:
        return [one for error in branch.errors for one in self.faults(error)]

    def _branches(self, error: ValidationError) -> Iterator[_Branch]:
        """The branches of a union, those of unions inside it included."""
        errors: dict[str | int, list[ValidationError]] = defaultdict(list)
        for one in error.context or ():
            errors[one.relative_schema_path[0]].append(one)
        for number, schema in enumerate(error.validator_value):
            resolved = self._resolved(schema)
            if "anyOf" in resolved:
                yield from self._branches(errors[number][0])
            else:
                yield _Branch(resolved, errors[number])

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self._defs[schema["$ref"].rpartition("/")[2]]
        return schema


def _resembles(value: Any, allowed: list[Any]) -> bool:
    """Whether a scalar was meant as one of the allowed values: of the type of one, or written like one."""
    return any(type(one) is type(value) or str(one) == str(value) for one in allowed)
