"""The JSON Schema (2020-12) of the manifest, made from the language's types and the params of the step kinds."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from onnxbuild.manifest.language import TITLE, ManifestFile, NamedTargetBlock
from onnxbuild.steps.compiling.backend_kind import COMPILE as _COMPILE
from onnxbuild.steps.compiling.backend_kind import KEY as _COMPILE_KEY
from onnxbuild.steps.packaging.package_kind import PACKAGE as _PACKAGE
from onnxbuild.tables.choices import MEANINGS

Schema = dict[str, Any]
# model: a block beside the source (export); target: a step that makes a new graph; check: reads a graph, in both;
# package: an entry of the model's `package:`; backend: what `compile:` of a target names; upload: a block beside the
# source, or a list of such blocks.
Holder = Literal["model", "target", "check", "package", "backend", "upload"]
_HOLDERS: Mapping[Holder, tuple[str, ...]] = {
    "model": ("ModelBlock",),
    "target": ("TargetBlock", "NamedTargetBlock"),
    "check": ("TargetBlock", "NamedTargetBlock", "ModelBlock"),
    "package": (),
    "backend": (),
    "upload": ("ModelBlock",),
}

Placed = tuple[str, type[Struct], Holder | None]  # name, params, and where the block may be written

INTERPOLATION: Mapping[str, Any] = {"$ref": "#/$defs/Interpolation"}
_SCALARS = frozenset({"integer", "number", "boolean"})


class StepKind(Protocol):
    """The part of a step kind that the language reads."""

    @property
    def name(self) -> str:
        """The key of its block."""

    @property
    def params(self) -> type[Struct]:
        """The params that a person can set."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """Ports and their artifact types."""

    @property
    def outputs(self) -> Mapping[str, str]:
        """The same for what it makes."""


def place_of(kind: StepKind) -> Holder | None:
    """Where the block of a kind may be written; None for fetch and prepare, which the source asks for."""
    if "compiled" in kind.outputs.values():
        return "backend"
    if "package" in kind.outputs.values():
        return "package"
    if "receipt" in kind.outputs.values():
        return "upload"
    if not kind.inputs or "checkpoint" in kind.outputs.values() or "package" in kind.inputs.values():
        return None
    if "onnx" not in kind.outputs.values():
        return "check"
    return "target" if "onnx" in kind.inputs.values() else "model"


def holders(kind: StepKind) -> tuple[str, ...]:
    """The blocks of the manifest, by class name, in which the block of a kind may be written."""
    place = place_of(kind)
    return () if place is None else _HOLDERS[place]


def step_schemas(kinds: Mapping[str, Any]) -> dict[str, Schema]:
    """For each kind that a person can ask for, the schema of its block, with its place as `x-place`."""
    schemas = schemas_of((name, kind.params, place_of(kind)) for name, kind in kinds.items())
    return {
        name: {**schema, "description": kinds[name].summary} if kinds[name].summary else schema
        for name, schema in schemas.items()
    }


def schemas_of(placed: Iterable[Placed]) -> dict[str, Schema]:
    """The same for kinds whose places are known."""
    return {
        name: {**_block_schema(params, switch=place in {"check", "package"}), "x-place": place}
        for name, params, place in placed
        if place is not None
    }


def manifest_schema(steps: Mapping[str, Mapping[str, Any]]) -> Schema:
    """The schema of a whole manifest whose step blocks have the given schemas (see `step_schemas`)."""
    _, components = msgspec.json.schema_components((ManifestFile, NamedTargetBlock), ref_template="#/$defs/{name}")
    defs: dict[str, Schema] = {name: _admit(_plain(schema)) for name, schema in components.items()}
    for name, schema in steps.items():
        defs[name] = _admit({key: value for key, value in schema.items() if key != "x-place"})
    places = {name: schema["x-place"] for name, schema in steps.items()}
    _place_steps(defs, places)
    for name in (*components, "Step"):
        if name in defs:
            defs[name]["additionalProperties"] = False
    # `source` may come from `defaults:`, which must not be asked for one either.
    defs["ModelBlock"].pop("required", None)
    defs["Interpolation"] = {
        "type": "string",
        "pattern": r"\$\{[^{}]+\}",
        "description": "a reference: ${vars.name}, ${matrix.axis}, ${env.NAME}",
    }
    root = defs.pop("ManifestFile")
    for section in root["properties"].values():
        _without_reference(section)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": TITLE}
    return {**root, **head, "$defs": dict(sorted(defs.items()))}


def _without_reference(section: Schema) -> None:
    """A whole section is written out: a reference in its place would leave nothing to check, and is a fault."""
    if any("$ref" in one and one != INTERPOLATION for one in section.get("anyOf", ())):
        section["anyOf"] = [one for one in section["anyOf"] if one != INTERPOLATION]


def _place_steps(defs: dict[str, Schema], places: Mapping[str, Holder]) -> None:
    """Make each block refer to the step blocks that it may contain: one definition per step kind."""
    for name, place in places.items():
        for holder in _HOLDERS[place]:
            defs[holder]["properties"][name] = _one_or_several(name) if place == "upload" else _reference(name)
    packages = [name for name, place in places.items() if place == "package"]
    defs["ModelBlock"]["properties"]["package"] = _packages(packages)
    backends = [name for name, place in places.items() if place == "backend"]
    defs[_COMPILE_KEY] = _admit(_compiled(backends, {name: defs.pop(name) for name in backends}))
    compiled = _reference(_COMPILE_KEY)
    defs["Step"] = {
        "title": "Step",
        "description": "one step: a step kind and its params",
        "type": "object",
        "properties": {
            **{name: _reference(name) for name, place in places.items() if place == "target"},
            _COMPILE_KEY: compiled,
        },
        "minProperties": 1,
        "maxProperties": 1,
    }
    for holder in ("TargetBlock", "NamedTargetBlock"):
        defs[holder]["properties"][_COMPILE_KEY] = compiled
        defs[holder]["properties"]["steps"]["anyOf"][0]["items"] = {"$ref": "#/$defs/Step"}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _one_or_several(name: str) -> Schema:
    """The schema of a block that may also be a list of such blocks."""
    several = {"type": "array", "items": _reference(name), "description": "several destinations; `[]`: none"}
    return {"description": f"what to {name}: one block, or a list", "anyOf": [_reference(name), several]}


def _packages(kinds: Sequence[str]) -> Schema:
    """The schema of `package:`: a name, a list of names, or the params of each package by name."""
    names = {kind.removeprefix(_PACKAGE): _reference(kind) for kind in kinds}
    name = {"type": "string", "enum": sorted(names), "description": "the package with its defaults"}
    return {
        "description": "folders for clients of the model, made of its targets: a name, a list of names, or the params"
        " of each package by name",
        "examples": [["plain"], {"plain": {"targets": ["int8"]}}],
        "anyOf": [
            name,
            {"type": "array", "items": name, "description": "packages with their defaults"},
            {
                "type": "object",
                "title": "PackageBlock",
                "properties": names,
                "additionalProperties": False,
                "description": "packages by name",
            },
            dict(INTERPOLATION),
        ],
    }


def _compiled(kinds: Sequence[str], blocks: Mapping[str, Schema]) -> Schema:
    """The schema of `compile:`: the name of a backend, or its params beside its name."""
    names = sorted(kind.removeprefix(_COMPILE) for kind in kinds)
    return {
        "description": "compiles the graph for a runtime or a device: a backend, or the params of one beside its name",
        "examples": ["openvino", {"backend": "openvino", "precision": "bf16"}],
        "anyOf": [
            {"type": "string", "enum": names, "description": "the backend with its defaults"},
            *(_of_backend(kind.removeprefix(_COMPILE), blocks[kind]) for kind in sorted(kinds)),
            dict(INTERPOLATION),
        ],
    }


def _of_backend(name: str, block: Schema) -> Schema:
    chosen = {"type": "string", "enum": [name], "description": f"what compiles: {block['description']}"}
    required = ["backend", *block.get("required", ())]
    return {**block, "properties": {"backend": chosen, **block["properties"]}, "required": required}


def _block_schema(params: type[Struct], *, switch: bool) -> Schema:
    """The schema of one step block: the params without derived ones, the short forms, and true or false."""
    _, components = msgspec.json.schema_components((params,))
    full = _inlined(_plain(components[params.__name__]), components)
    for derived in getattr(params, "DERIVED", ()):
        full["properties"].pop(derived, None)
    for name, keys in _listed_keys(params).items():
        if "additionalProperties" in (mapping := full["properties"].get(name, {})):
            value, meaning = mapping["additionalProperties"], mapping.get("description", "")
            mapping["properties"] = {key: {**value, "description": MEANINGS.get(key, meaning)} for key in keys}
            mapping["additionalProperties"] = False
    full["description"] = inspect.cleandoc(full.get("description", ""))
    full["required"] = [name for name in full.get("required", []) if name in full["properties"]]
    branches = [full, *_short_forms(params, full)]
    if switch:
        branches.append({"type": "boolean", "description": "true: with defaults; false: off"})
    return full if len(branches) == 1 else {"description": full["description"], "anyOf": branches}


def _listed_keys(params: type[Struct]) -> Mapping[str, Sequence[str]]:
    """The keys of each field that is a mapping with a `Literal` for its keys: msgspec's schema leaves them out."""
    hints = get_type_hints(params)
    found: dict[str, Sequence[str]] = {}
    for field in msgspec.structs.fields(params):
        hint = hints[field.name]
        for one in (hint, *get_args(hint)):
            if get_origin(one) is Mapping and get_origin(get_args(one)[0]) is Literal:
                found[field.encode_name] = get_args(get_args(one)[0])
    return found


def _short_forms(params: type[Struct], full: Schema) -> Iterator[Schema]:
    """What may replace a whole block: the value of one field, or a word for the block."""
    short, words = getattr(params, "SHORT", None), getattr(params, "SHORT_WORDS", {})
    if short is not None:
        yield {**full["properties"][short], "description": f"short for `{short}`"}
    if words:
        yield {"type": "string", "enum": sorted(words), "description": "short for a whole block"}


def _inlined(schema: Any, components: Mapping[str, Any]) -> Any:
    """The schema with nested structs inlined: two plugins may use one class name for different structs."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(_plain(components[schema["$ref"].rpartition("/")[2]]), components)
        return {key: _inlined(value, components) for key, value in schema.items()}
    return [_inlined(one, components) for one in schema] if isinstance(schema, list) else schema


def _plain(schema: Any) -> Any:
    """A copy in plain JSON types (msgspec leaves tuples as defaults)."""
    return msgspec.json.decode(msgspec.json.encode(schema))


def _admit(schema: Any) -> Any:
    """The schema in which every value that is not free text may also be a reference."""
    if isinstance(schema, list):
        return [_admit(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "anyOf" in schema:
        branches = [_admit_below(one) for one in schema["anyOf"] if one != {"type": "null"}]
        if not any(one.get("type") == "string" and "enum" not in one for one in branches):
            branches.append(dict(INTERPOLATION))
        about = {key: value for key, value in schema.items() if (key, value) != ("default", None)}
        return {**about, "anyOf": branches}
    below = _admit_below(schema)
    if schema.get("type") in _SCALARS or schema.get("type") == "array" or "enum" in schema:
        about = {key: below.pop(key) for key in ("description", "default", "examples") if key in below}
        return {**about, "anyOf": [below, dict(INTERPOLATION)]}
    return below


def _admit_below(schema: Schema) -> Schema:
    """The schema with references allowed in its parts, but not instead of it."""
    inner = dict(schema)
    if "properties" in inner:
        inner["properties"] = {name: _admit(one) for name, one in inner["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(inner.get(key), dict):
            inner[key] = _admit(inner[key])
    if "prefixItems" in inner:
        inner["prefixItems"] = [_admit(one) for one in inner["prefixItems"]]
    return inner
