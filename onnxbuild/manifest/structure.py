"""The structural check: every fault of a document against the manifest's schema, each in its place and in our words.

Walks the keywords that `schema` writes. A union is decided by the shape of the value, so that no fault is blamed on a
branch that nobody meant; jsonschema's own errors cannot be told apart like that, and it takes longer to import than a
thousand models take to check. A test holds the two to the same verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.document import Array, Table, describe
from onnxbuild.manifest.language import LATER

_WORDS = {
    "integer": "an integer", "number": "a number", "boolean": "`true` or `false`", "string": "a string",
    "array": "a list", "object": "a mapping", "null": "nothing",
}  # fmt: skip
_FEW = 8  # known keys and values up to this number are listed where none is near


class Place(Struct, frozen=True):
    """Where a value stands: its own span, and that of the key that holds it."""

    at: Span
    key_at: Span


def check(value: Any, schema: Mapping[str, Any], defs: Mapping[str, Any], place: Place) -> Iterator[Diagnostic]:
    """All faults of a value against a schema whose references point into `defs`."""
    schema = _resolve(schema, defs)
    if "anyOf" in schema:
        yield from _check_union(value, schema, defs, place)
        return
    if not _has_type(value, schema.get("type")):
        yield _wrong_type(value, [schema], place)
        return
    if "enum" in schema and not _is_one_of(value, schema["enum"]):
        yield _not_allowed(value, schema["enum"], place)
    if "minimum" in schema and isinstance(value, (int, float)) and value < schema["minimum"]:
        yield fault("OB013", f"expected a number from {schema['minimum']}, found `{value}`", span=place.at)
    if isinstance(value, Table):
        yield from _check_table(value, schema, defs, place)
    elif isinstance(value, Array):
        yield from _check_array(value, schema, defs, place)


def _resolve(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    return schema


def _check_table(
    table: Table, schema: Mapping[str, Any], defs: Mapping[str, Any], place: Place
) -> Iterator[Diagnostic]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key, value in table.items():
        inner = properties.get(key, others)
        if inner is False:
            yield _unknown_key(key, schema, table.key_span(key))
        elif isinstance(inner, Mapping) and inner:
            yield from check(value, inner, defs, Place(table.value_span(key), table.key_span(key)))
    for key in schema.get("required", ()):
        if key not in table:
            yield fault("OB012", f"missing key `{key}`", span=place.key_at, hint=_example(key, properties.get(key, {})))
    least, most = schema.get("minProperties", 0), schema.get("maxProperties")
    if len(table) < least or (most is not None and len(table) > most):
        known = ", ".join(f"`{name}`" for name in properties)
        yield fault("OB011", f"expected one key, found {len(table)}", span=place.at, hint=f"one of {known}")


def _check_array(
    array: Array, schema: Mapping[str, Any], defs: Mapping[str, Any], place: Place
) -> Iterator[Diagnostic]:
    prefix, items = schema.get("prefixItems", ()), schema.get("items", {})
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if len(array) < least or (most is not None and len(array) > most):
        bound = f"{least}" if least == most else f"at least {least}" if len(array) < least else f"at most {most}"
        yield fault("OB011", f"expected a list of {bound}, found {len(array)}", span=place.at)
        return
    for index, (value, at) in enumerate(zip(array, array.items_at, strict=True)):
        inner = prefix[index] if index < len(prefix) else items
        if isinstance(inner, Mapping) and inner:
            yield from check(value, inner, defs, Place(at, at))


def _check_union(value: Any, schema: Mapping[str, Any], defs: Mapping[str, Any], place: Place) -> Iterator[Diagnostic]:
    branches = list(_branches(schema, defs))
    fitting = [one for one in branches if _has_type(value, one.get("type")) and ("type" in one or "enum" in one)]
    if isinstance(value, (Table, Array)):
        verdicts = [list(check(value, one, defs, place)) for one in fitting if "type" in one]
        if verdicts:
            yield from min(verdicts, key=len)
            return
        yield _wrong_type(value, branches, place)
        return
    verdicts = [list(check(value, one, defs, place)) for one in fitting if not _is_reference(one) or _refers(value)]
    if any(not found for found in verdicts):
        return
    allowed = [one for branch in branches for one in branch.get("enum", ())]
    if allowed and (any(type(one) is type(value) for one in allowed) or str(value) in map(str, allowed)):
        yield _not_allowed(value, allowed, place)
    elif verdicts and not allowed:
        yield from min(verdicts, key=len)
    else:
        yield _wrong_type(value, branches, place)


def _branches(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for branch in schema["anyOf"]:
        found = _resolve(branch, defs)
        if "anyOf" in found:
            yield from _branches(found, defs)
        else:
            yield found


def _is_reference(schema: Mapping[str, Any]) -> bool:
    return "pattern" in schema and schema["pattern"].startswith(r"\$")


def _refers(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def _has_type(value: Any, wanted: Any) -> bool:
    if wanted is None:
        return True
    if wanted == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if wanted == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    types = {"string": str, "boolean": bool, "array": list, "object": dict, "null": type(None)}
    return isinstance(value, types[wanted])


def _is_one_of(value: Any, allowed: list[Any]) -> bool:
    return any(type(one) is type(value) and one == value for one in allowed)


def _wrong_type(value: Any, branches: list[Mapping[str, Any]], place: Place) -> Diagnostic:
    wanted = [one for one in branches if not _is_reference(one)]
    words = list(dict.fromkeys(_words(one) for one in wanted))
    message = f"expected {' or '.join(words)}, found {describe(value)}"
    return fault("OB011", message, span=place.at, hint=_type_hint(value, wanted))


def _words(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        allowed = [f"`{_yaml(one)}`" for one in schema["enum"]]
        return allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}"
    return _WORDS[schema.get("type", "object")]


def _type_hint(value: Any, wanted: list[Mapping[str, Any]]) -> str | None:
    types = {one.get("type") for one in wanted}
    if isinstance(value, str) and types & {"integer", "number"} and value.lstrip("-").replace(".", "", 1).isdecimal():
        return "remove the quotes"
    if isinstance(value, (int, float, bool)) and "string" in types:
        return "put it in quotes"
    if "array" in types and not isinstance(value, (dict, list)) and value is not None:
        return f"write `[{_yaml(value)}]`"
    return None


def _not_allowed(value: Any, allowed: list[Any], place: Place) -> Diagnostic:
    listed = ", ".join(f"`{_yaml(one)}`" for one in allowed)
    hint = did_you_mean(value, [one for one in allowed if isinstance(one, str)]) if isinstance(value, str) else None
    if isinstance(value, str) and hint is None:
        hint = next((f"did you mean `{one}`?" for one in allowed if str(one).lower() == value.lower()), None)
    found = f"`{_yaml(value)}`"
    if any(_yaml(one) == _yaml(value) for one in allowed):  # equal to the eye, and of another type
        found, hint = describe(value), "remove the quotes" if isinstance(value, str) else "put it in quotes"
    expected = listed if len(allowed) == 1 else f"one of {listed}"
    return fault("OB013", f"expected {expected}, found {found}", span=place.at, hint=hint)


def _unknown_key(key: str, schema: Mapping[str, Any], at: Span) -> Diagnostic:
    if key in LATER.get(schema.get("title", ""), ()):
        return fault("OB019", f"`{key}` is not available in this version", span=at, hint="remove it")
    known = list(schema.get("properties", ()))
    hint = did_you_mean(key, known)
    if schema.get("title") == "Step":
        listed = f"a step is one of {', '.join(f'`{name}`' for name in known)}"
        return fault("OB024", f"unknown step kind `{key}`", span=at, hint=hint or listed)
    if hint is None and len(known) <= _FEW:
        hint = f"expected one of {', '.join(f'`{name}`' for name in known)}"
    return fault("OB001", f"unknown key `{key}`", span=at, hint=hint)


def _example(key: str, schema: Mapping[str, Any]) -> str | None:
    values = [one for branch in (schema, *schema.get("anyOf", ())) for one in branch.get("enum", ())]
    return f"`{key}` is one of {', '.join(f'`{_yaml(one)}`' for one in values)}" if values else None


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
