"""From the text of a manifest to a `Manifest`: includes, variables, the structural check, matrices and defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, did_you_mean, fault
from onnxbuild.manifest.check import Place, check
from onnxbuild.manifest.document import Array, Table, read_scalar
from onnxbuild.manifest.include import read_with_includes
from onnxbuild.manifest.interpolate import Scope, copy_table, fill
from onnxbuild.manifest.language import NAME
from onnxbuild.manifest.matrix import points
from onnxbuild.manifest.schema import manifest_schema, step_schemas
from onnxbuild.manifest.spec import Dataset, Manifest, Model, Store, Target

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
    faults: list[Diagnostic] = []
    document, files = read_with_includes(str(path), faults)
    loader = _Loader(document, kinds, os.environ if environment is None else environment, faults)
    _check_version(document, faults)
    faults.extend(loader.check(document, loader.schema, Place(document.span, document.span)))
    manifest = loader.manifest(str(path), files, defines or {})
    if faults:
        raise DiagnosticError(in_order(faults))
    assert manifest is not None, "BUG: no manifest and no fault"
    return manifest


def in_order(faults: list[Diagnostic]) -> list[Diagnostic]:
    """Faults by place, each once (a fault in a matrix model or a shared target is met at every use)."""

    def place(one: Diagnostic) -> tuple[Any, ...]:
        return (one.span.source.path, one.span.line, one.span.column) if one.span else ("", 0, 0)

    seen = {(place(one), one.code, one.message): one for one in reversed(faults)}
    return sorted(seen.values(), key=lambda one: (place(one), one.code, one.message))


def _check_version(document: Table, faults: list[Diagnostic]) -> None:
    version = document.get("onnxbuild", VERSION)
    if isinstance(version, int) and version != VERSION:
        message = f"language version {version} is not known: this onnxbuild reads version {VERSION}"
        hint = "install a newer onnxbuild" if version > VERSION else f"write `onnxbuild: {VERSION}`"
        raise DiagnosticError([*faults, fault("OB030", message, span=document.value_span("onnxbuild"), hint=hint)])


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
        self.shared: dict[str, tuple[Table, str]] = {}  # shared targets: block and device

    def check(self, value: Any, schema: Mapping[str, Any], place: Place) -> Iterator[Diagnostic]:
        return check(value, schema, self.schema["$defs"], place)

    def manifest(self, path: str, files: tuple[str, ...], defines: Mapping[str, str]) -> Manifest | None:
        sound = not self.faults
        scope = Scope(self._variables(defines))
        datasets = self._filled_section("datasets", "DatasetBlock", scope)
        targets = self._filled_section("targets", "TargetBlock", scope)
        store = self._store(scope)
        models = list(self._models(scope))
        self._check_names("target", targets)
        for _, block, _ in models:
            self._check_targets(block, targets)
        if not self.faults:
            self.shared = {name: (block, block.get("device", "cpu")) for name, block in targets.items()}
            found = tuple(model for model in (self._model(*one) for one in models) if model is not None)
            self._check_collisions(found)
        if self.faults or not sound:
            return None
        return Manifest(
            path=path,
            models=found,
            datasets={name: _dataset(name, block) for name, block in datasets.items()},
            store=Store(path=store.get("path"), remote=store.get("remote")),
            files=files,
            environment=self.used,
        )

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
                for point in points(fill(matrix, matrix.span, scope, self.faults), self.faults):
                    yield self._point(name, merged, at, Scope(scope.vars, point))

    def _point(self, name: str, block: Table, at: Span, scope: Scope) -> tuple[str, Table, Span]:
        schema = {"$ref": "#/$defs/ModelBlock"}
        if scope.matrix is not None:
            block = copy_table(block)
            del block["matrix"]
        return str(fill(name, at, scope, self.faults)), self._filled(block, schema, scope), at

    def _model(self, name: str, block: Table, at: Span) -> Model | None:
        if not _NAME.fullmatch(name):
            self.faults.append(_bad_name("model", name, at))
        missing = [key for key in ("source", "targets") if not block.get(key)]
        for key in missing:
            hint = None if key == "source" else "name a target, such as `fp32` with `targets: {fp32: {}}`"
            self.faults.append(fault("OB012", f"missing key `{key}` in the model `{name}`", span=at, hint=hint))
        if missing:
            return None
        targets = tuple(self._targets(block))
        return Model(
            name=name, source=block["source"], task=block.get("task") or None, targets=targets, block=block, span=at
        )

    def _targets(self, block: Table) -> Iterator[Target]:
        written = block["targets"]
        seen: set[str] = set()
        for entry, at in zip(written, written.items_at, strict=True):
            name = entry["name"] if isinstance(entry, Table) else entry
            if name in seen:
                self.faults.append(fault("OB014", f"the target `{name}` is named twice", span=at))
            seen.add(name)
            if isinstance(entry, Table):
                place = entry.value_span("name")
                if not _NAME.fullmatch(name):
                    self.faults.append(_bad_name("target", name, place))
                yield Target(name=name, device=entry.get("device", "cpu"), block=entry, span=place)
            else:
                shared, device = self.shared[entry]
                yield Target(name=name, device=device, block=shared, span=at)

    def _check_targets(self, block: Table, targets: Table) -> None:
        written = block.get("targets")
        for entry, at in zip(written, written.items_at, strict=True) if isinstance(written, Array) else ():
            if isinstance(entry, str) and entry not in targets and "${" not in entry:
                known = ", ".join(f"`{one}`" for one in targets)
                listed = f"`targets:` has {known}" if known else "define it under `targets:`"
                hint = did_you_mean(entry, targets) or listed
                self.faults.append(fault("OB017", f"unknown target `{entry}`", span=at, hint=hint))

    def _check_names(self, what: str, section: Table) -> None:
        for name in section:
            if not _NAME.fullmatch(name):
                self.faults.append(_bad_name(what, name, section.key_span(name)))

    def _check_collisions(self, models: tuple[Model, ...]) -> None:
        seen: dict[str, Model] = {}
        for model in models:
            first = seen.setdefault(model.name.lower(), model)  # folders: some file systems do not tell case
            if first is not model:
                message = f"two models are named `{model.name}`"
                same = first.span == model.span
                hint = "put every axis of the matrix into the name" if same else f"the first stands at {first.span}"
                self.faults.append(fault("OB006", message, span=model.span, hint=hint))


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


def _bad_name(what: str, name: str, at: Span) -> Diagnostic:
    message = f"`{name}` cannot name a {what}"
    return fault("OB023", message, span=at, hint="letters, digits, `.`, `_` and `-`, the first a letter or a digit")


def _dataset(name: str, block: Table) -> Dataset:
    source = block["source"]
    return Dataset(
        name=name,
        source=source if isinstance(source, str) else tuple(source),
        columns=block.get("columns", {}),
        limit=block.get("limit"),
        seed=block.get("seed", 0),
        span=block.value_span("source"),
    )
