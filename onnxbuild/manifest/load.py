"""From the text of a manifest to a `Manifest`: includes, variables, the structural check, matrices and defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, did_you_mean, fault
from onnxbuild.manifest.document import Array, Table, read_scalar
from onnxbuild.manifest.include import read_with_includes
from onnxbuild.manifest.interpolate import Scope, copy_table, fill
from onnxbuild.manifest.json_schema import manifest_schema, step_schemas
from onnxbuild.manifest.language import NAME
from onnxbuild.manifest.matrix import points
from onnxbuild.manifest.spec import Dataset, Manifest, Model, Store, Target, Toolchain
from onnxbuild.manifest.structure import Place, check

VERSION = 1
# Under `defaults:` these would say the same of every model, or replace each other in part.
_NOT_MERGED = ("source", "matrix")
_NAME = re.compile(NAME)


def load_manifest(
    path: str | Path,
    *,
    kinds: Mapping[str, Any],
    defines: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Manifest:
    """The manifest in a file, with `-D` values over its `vars:`; `environment` is this process's unless given.

    Errors: DiagnosticError with every fault that can be told without looking at models.
    """
    manifest, faults = read_manifest(path, kinds=kinds, defines=defines, environment=environment)
    if faults:
        raise DiagnosticError(faults)
    return manifest


def read_manifest(
    path: str | Path,
    *,
    kinds: Mapping[str, Any],
    defines: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Manifest, list[Diagnostic]]:
    """The manifest in a file as far as it is sound, and its faults: a lint goes on with the models that are.

    Errors: DiagnosticError where nothing can be told of the rest.
    """
    faults: list[Diagnostic] = []
    try:
        document, files = read_with_includes(str(path), faults)
        _check_version(document)
    except DiagnosticError as error:
        raise DiagnosticError(in_order([*faults, *error.diagnostics])) from None
    loader = _Loader(document, kinds, os.environ if environment is None else environment, faults)
    faults.extend(loader.check(document, loader.schema, Place(document.span, document.span)))
    manifest = loader.manifest(str(path), files, defines or {})
    return manifest, in_order(faults)


def in_order(faults: list[Diagnostic]) -> list[Diagnostic]:
    """Faults by place, each once (a fault in a matrix model or a shared target is met at every use)."""

    def place(one: Diagnostic) -> tuple[Any, ...]:
        return (one.span.source.path, one.span.line, one.span.column) if one.span else ("", 0, 0)

    seen = {(place(one), one.code, one.message): one for one in reversed(faults)}
    return sorted(seen.values(), key=lambda one: (place(one), one.code, one.message))


def _check_version(document: Table) -> None:
    version = document.get("onnxbuild", VERSION)
    if isinstance(version, int) and version != VERSION:
        message = f"language version {version} is not known: this onnxbuild reads version {VERSION}"
        hint = "install a newer onnxbuild" if version > VERSION else f"write `onnxbuild: {VERSION}`"
        raise DiagnosticError(fault("OB030", message, span=document.value_span("onnxbuild"), hint=hint))


class _Loader:
    """One loading: what its stages share."""

    def __init__(
        self, document: Table, kinds: Mapping[str, Any], environment: Mapping[str, str], faults: list[Diagnostic]
    ) -> None:
        self.document = document
        self.schema = manifest_schema(step_schemas(kinds))
        self.faults = faults
        self.environment = environment
        self.used: dict[str, str] = {}

    def check(self, value: Any, schema: Mapping[str, Any], place: Place) -> Iterator[Diagnostic]:
        return check(value, schema, self.schema["$defs"], place)

    def manifest(self, path: str, files: tuple[str, ...], defines: Mapping[str, str]) -> Manifest:
        """What is sound of the manifest; the rest has its faults."""
        scope = Scope(self._variables(defines))
        datasets = self._filled_section("datasets", "DatasetBlock", scope)
        targets = self._filled_section("targets", "TargetBlock", scope)
        toolchains = self._filled_section("toolchains", "ToolchainBlock", scope)
        store = self._store(scope)
        models = list(self._models(scope))
        for name in targets:
            self._check_name("target", name, targets.key_span(name))
        for name, block in toolchains.items():
            if isinstance(block, Table) and bool(block.get("requirements")) == bool(block.get("python")):
                message = f"the toolchain `{name}` needs either `requirements` or `python`"
                self.faults.append(fault("OB048", message, span=toolchains.key_span(name)))
        for model in models:
            self._check_model(*model, targets)
            self._check_toolchain(model[1], toolchains)
        self._check_collisions(models)
        if self.faults:
            targets, datasets = self._sound(targets, "TargetBlock"), self._sound(datasets, "DatasetBlock")
            toolchains = self._sound(toolchains, "ToolchainBlock")
            store = store if self._is_sound(store, "StoreBlock") else Table(store.span)
            models = [one for one in models if self._is_sound_model(one[1], targets, toolchains)]
        return Manifest(
            path=path,
            models=tuple(_model(*one, targets) for one in models),
            datasets={name: _dataset(name, block) for name, block in datasets.items()},
            toolchains={name: _toolchain(name, block) for name, block in toolchains.items()},
            store=Store(
                path=store.get("path"), remote=store.get("remote"), readonly=bool(store.get("readonly", False))
            ),
            files=files,
            environment=self.used,
        )

    def _is_sound(self, block: Any, definition: str) -> bool:
        """Whether a block has no fault of structure, and no reference is left in it."""
        if not isinstance(block, Table):
            return False
        unresolved: list[Diagnostic] = []
        fill(block, block.span, Scope({}), unresolved)
        place = Place(block.span, block.span)
        return not unresolved and not any(self.check(block, {"$ref": f"#/$defs/{definition}"}, place))

    def _sound(self, section: Table, definition: str) -> Table:
        sound = copy_table(section)
        for name, block in section.items():
            if not self._is_sound(block, definition):
                del sound[name]
        return sound

    def _is_sound_model(self, block: Table, targets: Table, toolchains: Table) -> bool:
        if block.get("toolchain") and block["toolchain"] not in toolchains:
            return False
        if not block.get("source") or not block.get("targets") or not self._is_sound(block, "ModelBlock"):
            return False
        return all(isinstance(entry, Table) or entry in targets for entry in block["targets"])

    def _section(self, name: str) -> Table:
        section = self.document.get(name)
        return section if isinstance(section, Table) else Table(self.document.span)

    def _variables(self, defines: Mapping[str, str]) -> Mapping[str, Any]:
        written = self._section("vars")
        for name in defines:
            if name not in written:
                hint = did_you_mean(name, written) or "define it under `vars:` with a default"
                self.faults.append(fault("OB004", f"`-D {name}=…` sets a variable that is not defined", hint=hint))
        values: dict[str, Any] = {}
        for name, value in written.items():
            # A variable may use those above it, so that no cycle can arise.
            given = read_scalar(defines[name]) if name in defines else value
            values[name] = fill(given, written.value_span(name), Scope(dict(values)), self.faults)
        return values

    def _filled_section(self, name: str, definition: str, scope: Scope) -> Table:
        section = self._section(name)
        return self._filled(section, {"additionalProperties": {"$ref": f"#/$defs/{definition}"}}, scope)

    def _filled(self, table: Table, schema: Mapping[str, Any], scope: Scope) -> Table:
        """The table with references replaced, and checked again where one was."""
        filled = fill(table, table.span, scope, self.faults)
        if filled is not table:
            self.faults.extend(self.check(filled, {"type": "object", **schema}, Place(table.span, table.span)))
        assert isinstance(filled, Table), "BUG: a table became something else"
        return filled

    def _store(self, scope: Scope) -> Table:
        secrets = Scope(scope.vars, None, self.environment, self.used)
        return self._filled(self._section("store"), {"$ref": "#/$defs/StoreBlock"}, secrets)

    def _models(self, scope: Scope) -> Iterator[tuple[str, Table, Span]]:
        """Name, block and place of every model, one for each point of a matrix, with defaults and values filled in."""
        section, defaults = self._section("models"), self._section("defaults")
        for name, block in section.items():
            if not isinstance(block, Table):
                continue
            merged = overlay(defaults, block) if defaults else block
            matrix = merged.get("matrix")
            at = section.key_span(name)
            if matrix is None:
                yield self._point(name, merged, at, scope)
            elif isinstance(matrix, Table) and all(isinstance(values, list) for values in matrix.values()):
                for point in points(
                    fill(matrix, matrix.span, scope, self.faults), merged.key_span("matrix"), self.faults
                ):
                    yield self._point(name, merged, at, Scope(scope.vars, point))

    def _point(self, name: str, block: Table, at: Span, scope: Scope) -> tuple[str, Table, Span]:
        schema = {"$ref": "#/$defs/ModelBlock"}
        if scope.matrix is not None:
            block = copy_table(block)
            del block["matrix"]
        return str(fill(name, at, scope, self.faults)), self._filled(block, schema, scope), at

    def _check_model(self, name: str, block: Table, at: Span, targets: Table) -> None:
        self._check_name("model", name, at)
        for key in ("source", "targets"):
            if key not in block or block[key] == []:
                hint = None if key == "source" else "name a target, such as `fp32` with `targets: {fp32: {}}`"
                self.faults.append(fault("OB012", f"missing key `{key}` in the model `{name}`", span=at, hint=hint))
        written = block.get("targets")
        seen: set[str] = set()
        for entry, entry_at in zip(written, written.items_at, strict=True) if isinstance(written, Array) else ():
            is_own = isinstance(entry, Table)
            target, place = (entry.get("name"), entry.value_span("name")) if is_own else (entry, entry_at)
            if not isinstance(target, str) or "${" in target:
                continue  # the structural check, or that of references, has said so
            if is_own:
                self._check_name("target", target, place)
            elif target not in targets:
                self._unknown_target(target, place, targets)
            if target.lower() in seen:
                self.faults.append(fault("OB014", f"the target `{target}` is named twice", span=place))
            seen.add(target.lower())

    def _check_toolchain(self, block: Table, toolchains: Table) -> None:
        name = block.get("toolchain")
        if isinstance(name, str) and name and "${" not in name and name not in toolchains:
            hint = did_you_mean(name, toolchains) or "define it under `toolchains:`"
            at = block.value_span("toolchain")
            self.faults.append(fault("OB044", f"unknown toolchain `{name}`", span=at, hint=hint))

    def _unknown_target(self, name: str, at: Span, targets: Table) -> None:
        known = ", ".join(f"`{one}`" for one in targets)
        listed = f"`targets:` has {known}" if known else "define it under `targets:`"
        hint = did_you_mean(name, targets) or listed
        self.faults.append(fault("OB017", f"unknown target `{name}`", span=at, hint=hint))

    def _check_name(self, what: str, name: str, at: Span) -> None:
        if "${" not in name and not _NAME.fullmatch(name):
            hint = "letters, digits, `.`, `_` and `-`, the first a letter or a digit"
            self.faults.append(fault("OB023", f"`{name}` cannot name a {what}", span=at, hint=hint))

    def _check_collisions(self, models: list[tuple[str, Table, Span]]) -> None:
        seen: dict[str, Span] = {}
        for name, _, at in models:
            first = seen.get(name.lower())  # models become folders, and some file systems do not tell case
            if first is None:
                seen[name.lower()] = at
                continue
            hint = "put every axis of the matrix into the name" if first == at else f"the first stands at {first}"
            self.faults.append(fault("OB006", f"two models are named `{name}`", span=at, hint=hint))


def _model(name: str, block: Table, at: Span, targets: Table) -> Model:
    found = tuple(_targets(block["targets"], targets))
    return Model(
        name=name,
        source=block["source"],
        task=block.get("task") or None,
        toolchain=block.get("toolchain") or None,
        targets=found,
        block=block,
        span=at,
    )


def _targets(written: Array, shared: Table) -> Iterator[Target]:
    for entry, at in zip(written, written.items_at, strict=True):
        is_own = isinstance(entry, Table)
        name, block, span = (entry["name"], entry, entry.value_span("name")) if is_own else (entry, shared[entry], at)
        yield Target(name=name, device=block.get("device", "cpu"), block=block, span=span)


def overlay(base: Table, top: Table) -> Table:
    """A table with the entries of both; where both have a mapping these are merged, else `top` counts."""
    merged = copy_table(base)
    merged.span = top.span
    for key, value in top.items():
        below = merged.get(key)
        if isinstance(below, Table) and isinstance(value, Table) and key not in _NOT_MERGED:
            value = overlay(below, value)  # noqa: PLW2901 - the merged value takes the written one's place
        merged.put(key, value, top.key_span(key), top.value_span(key))
    return merged


def _toolchain(name: str, block: Table) -> Toolchain:
    python = block.get("python") or None
    if python:  # relative to the file in which it is written, and not resolved: a venv's python is a link
        python = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(block.span.source.path)), python))
    return Toolchain(name=name, requirements=tuple(block.get("requirements", ())), python=python, span=block.span)


def _dataset(name: str, block: Table) -> Dataset:
    source = block["source"]
    return Dataset(
        name=name,
        source=source if isinstance(source, str) else tuple(source),
        files=block.get("files"),
        columns=block.get("columns", {}),
        limit=block.get("limit"),
        seed=block.get("seed", 0),
        span=block.value_span("source"),
    )
