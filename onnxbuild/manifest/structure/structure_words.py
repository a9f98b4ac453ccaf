"""The wording of structural faults: code, message, place and hint for each keyword of the schema that can fail."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.document import describe
from onnxbuild.manifest.language import CHANGES, ELSEWHERE, INSTEAD, LATER
from onnxbuild.tables.bounds.figure_names import figure_hint
from onnxbuild.tables.choices import bound_hint

Schema = Mapping[str, Any]

# What to write instead of `true` where there is no default to switch on.
_SWITCHED_ON = {
    "package": "name the package: `package: plain`",
    "publish": "name the destination: `publish: {hub: OWNER/NAME}`",
    "compile": "name the backend: `compile: NAME`, one of {names}",
    "optimize": "name the level: `optimize: O2`",
    "quantize": "name what the weights become: `quantize: int8`",
    "select": "name the figure that decides: `select: {minimize: latency.p50}`",
    "matrix": "name an axis and its values: `matrix: {size: [small, base]}`",
    "targets": "name one or more targets, such as `targets: [fp32]`",
    "adapter": "name the adapter: `adapter: hub:OWNER/NAME`",
}
_LEAVE_OUT = "leave it out"
# What to write instead of `false`.
_SWITCHED_OFF = {
    **dict.fromkeys(("compile", "optimize", "quantize", "precision", "export"), _LEAVE_OUT),
    **dict.fromkeys(("select", "matrix", "adapter"), _LEAVE_OUT),
    "targets": _SWITCHED_ON["targets"],
    "package": f"{_LEAVE_OUT}, or write `package: []` if `defaults:` has packages",
    "publish": f"{_LEAVE_OUT}, or write `publish: []` if `defaults:` has destinations",
}
_TYPES = {
    "integer": "an integer", "number": "a number", "boolean": "`true` or `false`", "string": "a string",
    "array": "a list", "object": "a mapping", "null": "nothing",
}  # fmt: skip
# Words that people bring from torch and from drivers, and the language's own.
_SYNONYMS: Mapping[str, str] = {
    "gpu": "cuda", "nvidia": "cuda", "cuda:0": "cuda",
    "float32": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16",
}  # fmt: skip
_A_METRIC = "cosine_mean"  # among the keys of every block of bounds
_EMPTY = '""'  # a key without a character
# A function in a file or a module, as custom exporters are named.
_FUNCTION = re.compile(r"[\w./-]*[\w-]:[A-Za-z_]\w*")
# What YAML 1.1 reads as booleans, and YAML 1.2 as strings.
_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


class Place(Struct, frozen=True):
    """The place of a value: its own span, and that of its key."""

    at: Span
    key_at: Span


class Broken(Struct, frozen=True, kw_only=True):
    """A value that breaks one keyword of a schema."""

    keyword: str
    demand: Any  # what the schema has under the keyword
    schema: Schema
    value: Any
    place: Place


def wrong_type(value: Any, branches: Iterable[Schema], place: Place) -> Diagnostic:
    """A value of another type than any of the schemas that could apply."""
    wanted = list(branches)
    words = list(dict.fromkeys(_type_words(one) for one in wanted))
    message = f"expected {' or '.join(words)}, found {describe(value)}"
    return fault("OB011", message, span=place.at, hint=_hint(value, wanted, place))


def _hint(value: Any, wanted: list[Schema], place: Place) -> str | None:
    if place.key_at != place.at and isinstance(value, bool | None):
        switched = _switch_hint(value, wanted, _text_of(place.key_at))
        if switched is not None:
            return switched
    own = _bound_hint(value, wanted, place) or _names_only(value, wanted, place)
    return own or _type_hint(value, wanted) or _field_hint(value, wanted, place)


def _bound_hint(value: Any, wanted: list[Schema], place: Place) -> str | None:
    """For a number where a text is expected under the name of a figure: it is a bound, or how far a figure may move."""
    texts = [one for one in wanted if one.get("type") == "string"]
    if not isinstance(value, int | float) or not texts or any(one.get("examples") == [*CHANGES] for one in texts):
        return None
    return bound_hint(_text_of(place.key_at).strip("'\""), _text_of(place.at))


def _switch_hint(value: bool | None, wanted: list[Schema], key: str) -> str | None:  # noqa: FBT001 - a value of YAML
    """For `true`, `false` or nothing under a key that needs words."""
    if value is False:
        return _SWITCHED_OFF.get(key)
    types = {one.get("type") for one in wanted}
    if value is None and "boolean" in types:  # `true` asks for the defaults, where the block requires nothing
        block = next((one for one in wanted if one.get("type") == "object"), {})
        return f"write `{key}: {_least(block) if block.get('required') else 'true'}`, or {_LEAVE_OUT}"
    named = _SWITCHED_ON.get(key, "").replace("{names}", _listed_names(wanted)) or _one_of_names(key, wanted)
    if value is None and key in _SWITCHED_OFF and key != "targets":
        return f"{named}, or {_LEAVE_OUT}" if named else _LEAVE_OUT
    return named


def _one_of_names(key: str, wanted: list[Schema]) -> str | None:
    """For a block that a word can stand for: the key with such a word."""
    words = [one for schema in wanted for one in schema.get("enum", ()) if isinstance(one, str)]
    return f"say which: `{key}: {words[-1]}`" if words else None


def _listed_names(wanted: list[Schema]) -> str:
    """The words that could stand in the place of a whole block."""
    return ", ".join(
        f"`{one}`" for schema in wanted if schema.get("type") == "string" for one in schema.get("enum", ())
    )


def not_allowed(value: Any, allowed: list[Any], place: Place) -> Diagnostic:
    """A value that is none of the allowed ones."""
    listed = ", ".join(f"`{_yaml(one)}`" for one in allowed)
    expected = listed if len(allowed) == 1 else f"one of {listed}"
    if any(_yaml(one) == _yaml(value) for one in allowed):  # the same text, and another type
        quotes = "remove the quotes" if isinstance(value, str) else "put it in quotes"
        return fault("OB013", f"expected {expected}, found {describe(value)}", span=place.at, hint=quotes)
    if isinstance(value, dict | list):
        return fault("OB013", f"expected {expected}, found {describe(value)}", span=place.at)
    hint = _near(value, [one for one in allowed if isinstance(one, str)]) if isinstance(value, str) else None
    return fault("OB013", f"expected {expected}, found `{_yaml(value)}`", span=place.at, hint=hint)


def _names_only(value: Any, wanted: list[Schema], place: Place) -> str | None:
    """For a name with its params in a list of names, as in `package: [plain, {server: {targets: [fp32]}}]`."""
    allowed = [one for schema in wanted for one in schema.get("enum", ())]
    if place.key_at != place.at or not isinstance(value, dict) or not value or not all(one in allowed for one in value):
        return None
    names = ", ".join(f"{name}: {{…}}" for name in value)
    return f"a list has names only; with params, write a mapping in place of the list: `{{{names}, OTHER: {{}}}}`"


def _near(word: str, allowed: list[str]) -> str | None:
    meant = {_SYNONYMS.get(word.lower()), word.lower()}
    same = next((one for one in allowed if one.lower() in meant), None)
    return f"did you mean `{same}`?" if same else did_you_mean(word, allowed)


def words_for(broken: Broken) -> Iterable[Diagnostic]:
    """The faults that a broken keyword means; `anyOf` has none itself."""
    return _WORDS.get(broken.keyword, _other)(broken)


def _wrong_type(broken: Broken) -> Iterator[Diagnostic]:
    yield wrong_type(broken.value, [broken.schema], broken.place)


def _not_allowed(broken: Broken) -> Iterator[Diagnostic]:
    if not (isinstance(broken.value, dict | list) and "type" in broken.schema):  # that fault names the values, too
        yield not_allowed(broken.value, broken.demand, broken.place)


def _too_small(broken: Broken) -> Iterator[Diagnostic]:
    yield fault("OB013", f"expected a number from {broken.demand}, found `{broken.value}`", span=broken.place.at)


def _too_large(broken: Broken) -> Iterator[Diagnostic]:
    yield fault("OB013", f"expected a number up to {broken.demand}, found `{broken.value}`", span=broken.place.at)


def _length(broken: Broken) -> Iterator[Diagnostic]:
    least, most = broken.schema.get("minItems", 0), broken.schema.get("maxItems")
    is_short = len(broken.value) < least
    bound = f"{least}" if least == most else f"at least {least}" if is_short else f"at most {most}"
    yield fault("OB011", f"expected a list of {bound}, found {len(broken.value)}", span=broken.place.at)


def _count(broken: Broken) -> Iterator[Diagnostic]:
    known = ", ".join(f"`{name}`" for name in broken.schema.get("properties", ()))
    message = f"expected one key, found {len(broken.value)}"
    yield fault("OB011", message, span=broken.place.at, hint=f"one of {known}")


def _missing_keys(broken: Broken) -> Iterator[Diagnostic]:
    properties = broken.schema.get("properties", {})
    for key in broken.demand:
        if key not in broken.value:
            hint = _example(key, properties.get(key, {}))
            yield fault("OB012", f"missing key `{key}`", span=broken.place.key_at, hint=hint)


def missing_choice(key: str, words: list[str], place: Place) -> Diagnostic:
    """A block without the key that says which of several blocks it is."""
    return fault("OB012", f"missing key `{key}`", span=place.key_at, hint=f"`{key}` is one of {_listed(words)}")


def _listed(words: Iterable[str]) -> str:
    return ", ".join(f"`{one}`" for one in words)


def _unknown_keys(broken: Broken) -> Iterator[Diagnostic]:
    for key in broken.value:
        if key not in broken.schema.get("properties", ()):
            yield _unknown_key(key, broken.schema, broken.value.key_span(key))


def _unknown_key(key: str, schema: Schema, at: Span) -> Diagnostic:
    title, known = schema.get("title", ""), list(schema.get("properties", ()))
    if key in LATER.get(title, ()):
        return fault("OB019", f"`{key}` is not available in this version", span=at, hint=INSTEAD.get(key, "remove it"))
    similar = figure_hint(key, known) if _A_METRIC in known else did_you_mean(key, known)
    hint = ELSEWHERE.get(title, {}).get(key) or similar
    listed = ", ".join(f"`{name}`" for name in known)
    if title == "Step":
        return fault("OB024", f"unknown step kind `{key}`", span=at, hint=hint or f"a step is one of {listed}")
    if hint is None and known:
        hint = f"expected one of {listed}"
    return fault("OB001", f"unknown key `{key or _EMPTY}`", span=at, hint=hint)


def _malformed(broken: Broken) -> Iterator[Diagnostic]:
    """A text of another form. `patternErrorMessage` has the form in words, for editors and for people."""
    form = broken.schema.get("patternErrorMessage") or f"expected a text of the form `{broken.demand}`"
    yield fault("OB013", f"{form}, found {describe(broken.value)}", span=broken.place.at)


def _too_short(broken: Broken) -> Iterator[Diagnostic]:
    least = "a text" if broken.demand == 1 else f"a text of at least {broken.demand} characters"
    yield fault("OB013", f"expected {least}, found {describe(broken.value)}", span=broken.place.at)


def _other(broken: Broken) -> Iterator[Diagnostic]:
    """A keyword that only a plugin's params use."""
    message = f"expected `{broken.keyword}: {_yaml(broken.demand)}`, found {describe(broken.value)}"
    yield fault("OB013", message, span=broken.place.at)


_WORDS: Mapping[str, Callable[[Broken], Iterator[Diagnostic]]] = {
    "type": _wrong_type, "enum": _not_allowed, "pattern": _malformed, "minLength": _too_short,
    "minimum": _too_small, "maximum": _too_large,
    "minItems": _length, "maxItems": _length, "items": _length, "minProperties": _count, "maxProperties": _count,
    "required": _missing_keys, "additionalProperties": _unknown_keys,
}  # fmt: skip


def _type_words(schema: Schema) -> str:
    if "enum" in schema:
        allowed = [f"`{_yaml(one)}`" for one in schema["enum"]]
        return allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}"
    return _TYPES[schema.get("type", "object")]


def _type_hint(value: Any, wanted: list[Schema]) -> str | None:
    types = {one.get("type") for one in wanted if "enum" not in one}
    if value is None:
        return _null_hint(wanted)
    if isinstance(value, str) and "boolean" in types and value.lower() in _BOOLEANS:
        return f"write `{_BOOLEANS[value.lower()]}`: in YAML 1.2 `{value}` is a string"
    if isinstance(value, str) and types & {"integer", "number"} and value.lstrip("-").replace(".", "", 1).isdecimal():
        return "remove the quotes"
    if isinstance(value, (int, float, bool)) and "string" in types:
        return "put it in quotes"
    if "array" in types and not isinstance(value, (dict, list)):
        return f"write `[{_yaml(value)}]`"
    return None


def _field_hint(value: Any, wanted: list[Schema], place: Place) -> str | None:
    """For a scalar instead of a block: the block with the field that has this value among its examples."""
    blocks = [one for one in wanted if one.get("type") == "object"]
    if place.key_at == place.at:  # an entry of a list
        return None
    if value is True and blocks:
        return f"write `{_text_of(place.key_at)}: {_least(blocks[0])}`"
    for name, field in ((name, field) for block in blocks for name, field in block.get("properties", {}).items()):
        if isinstance(value, str) and _is_like(value, _examples(field)):
            return f"write `{_text_of(place.key_at)}: {{{name}: {value}}}`"
    return None


def _is_like(value: str, examples: list[Any]) -> bool:
    """Whether a value is one of the examples, or names a function as one of them does."""
    if value in examples:
        return True
    return bool(_FUNCTION.fullmatch(value)) and any(_FUNCTION.fullmatch(str(one)) for one in examples)


def _least(block: Schema) -> str:
    """The least that can be written for a block: its required fields, or nothing."""
    properties = block.get("properties", {})
    required = {name: _plain_example(properties.get(name, {})) for name in block.get("required", ())}
    return f"{{{', '.join(f'{name}: {_yaml(value)}' for name, value in required.items())}}}"


def _text_of(span: Span) -> str:
    """The text at a place."""
    return span.source.line(span.line)[span.column - 1 : span.column - 1 + span.length]


def _plain_example(schema: Schema) -> Any:
    """A value that stands alone: `auto` may need more keys beside it."""
    examples = _examples(schema)
    return next((one for one in examples if one != "auto"), next(iter(examples), "…"))


def _examples(schema: Schema) -> list[Any]:
    """The values that a schema allows or shows, those of the branches of a union included."""
    branches = (schema, *schema.get("anyOf", ()))
    return [one for branch in branches for one in (*branch.get("enum", ()), *branch.get("examples", ()))]


def _null_hint(wanted: list[Schema]) -> str | None:
    block = next((one for one in wanted if one.get("type") == "object"), None)
    if block is None or block.get("required"):
        return None
    return "give it `source:` and `targets:`" if block.get("title") == "ModelBlock" else "write `{}`"


def _example(key: str, schema: Schema) -> str | None:
    values = [one for branch in (schema, *schema.get("anyOf", ())) for one in branch.get("enum", ())]
    if len(values) == 1:
        return f"write `{key}: {_yaml(values[0])}`"
    return f"`{key}` is one of {', '.join(f'`{_yaml(one)}`' for one in values)}" if values else None


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
