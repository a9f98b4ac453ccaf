"""The sections of a document with everything filled in: variables, defaults, and one model per point of a matrix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, structs

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.checks.idle_keys import IdleKey, idle_keys
from onnxbuild.manifest.document import Array, Table, copy_table, overlay
from onnxbuild.manifest.interpolate import Scope, fill
from onnxbuild.manifest.matrix import points
from onnxbuild.manifest.reading.budget import Budget, weight_of
from onnxbuild.manifest.reading.yaml_reader import read_list, read_scalar
from onnxbuild.manifest.secrets_in_store import Masked, Secrets, misplaced
from onnxbuild.manifest.structure.structure_checker import Structure, block, section
from onnxbuild.manifest.structure.structure_words import Place
from onnxbuild.permissions import Permissions

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_LISTS = {"type": "object", "additionalProperties": {"type": "array"}}  # of a matrix, once references are replaced


class ModelEntry(Struct, frozen=True):
    """A model's name, its block, the place of its name, and the keys that ask for nothing."""

    name: str
    block: Table
    at: Span
    idle: tuple[IdleKey, ...] = ()


class Sections(Struct, frozen=True, kw_only=True):
    """Blocks by name, with references replaced. Faulty ones are still included (`sound` leaves them out)."""

    models: tuple[ModelEntry, ...]
    targets: Table
    datasets: Table
    toolchains: Table
    store: Table
    regressions: Table


def read_sections(
    document: Table,
    structure: Structure,
    faults: list[Diagnostic],
    *,
    defines: Mapping[str, str],
    secrets: Secrets,
) -> Sections:
    """The sections of a document; faults are added to `faults`. `secrets` then knows which variables were read."""
    return _Filling(document, structure, faults).sections(defines, secrets)


class _Filling:
    """Fills one document; holds what its stages share."""

    def __init__(self, document: Table, structure: Structure, faults: list[Diagnostic]) -> None:
        self.document, self.structure, self.faults = document, structure, faults
        self.budget = Budget()

    def sections(self, defines: Mapping[str, str], secrets: Secrets) -> Sections:
        scope = Scope(self._variables(defines), budget=self.budget)
        return Sections(
            datasets=self._filled(self._section("datasets"), section("DatasetBlock"), scope),
            targets=self._filled(self._section("targets"), section("TargetBlock"), scope),
            toolchains=self._filled(self._section("toolchains"), section("ToolchainBlock"), scope),
            store=self._store(scope, secrets),
            regressions=self._filled(self._section("regressions"), _TEXTS, scope),
            models=tuple(self._models(scope)),
        )

    def _section(self, name: str) -> Table:
        written = self.document.get(name)
        if isinstance(written, str):
            self._refuse_reference(written, self.document.value_span(name))
        return written if isinstance(written, Table) else Table(self.document.span)

    def _refuse_reference(self, written: str, at: Span) -> None:
        """A fault for a reference in the place of a whole section, which would be ignored otherwise."""
        if all((one.code, one.span) != ("OB011", at) for one in self.faults):
            message = f"expected a mapping, found the string `{written}`"
            self.faults.append(fault("OB011", message, span=at, hint="write it out, with references inside"))

    def _store(self, scope: Scope, secrets: Secrets) -> Table:
        written = self._section("store")
        filled = self._filled(written, block("StoreBlock"), Scope(scope.vars, secrets=secrets, budget=self.budget))
        if secrets.used:
            masked = fill(written, written.span, Scope(scope.vars, secrets=Masked({}, Permissions())), [])
            for key, text in masked.items():
                if isinstance(text, str) and (key in {"remote", "path"} or "://" in str(filled[key])):
                    filled = self._without_misplaced(filled, key, text, secrets)
        return filled

    def _without_misplaced(self, store: Table, key: str, masked: str, secrets: Secrets) -> Table:
        """The store, without a text in which a secret is misplaced: other checks would show the secret as a host."""
        problems = list(misplaced(masked, secrets.used, store.value_span(key)))
        self.faults.extend(problems)
        if problems:
            store = copy_table(store)
            del store[key]
        return store

    def _variables(self, defines: Mapping[str, str]) -> Mapping[str, Any]:
        written = self._section("vars")
        self.faults.extend(_undefined(defines, written))
        values: dict[str, Any] = {}
        for name, value in written.items():
            # A variable may use those above it, so that no cycle can arise.
            given = _given(name, defines[name], value) if name in defines else value
            values[name] = fill(given, written.value_span(name), Scope(values, budget=self.budget), self.faults)
        self.faults.extend(
            fault("OB022", f"`-D {name}=…` has the character U+0000") for name, text in defines.items() if "\0" in text
        )
        return values

    def _filled(self, table: Table, schema: Mapping[str, Any], scope: Scope) -> Table:
        """The table with references replaced, and checked again where there was one."""
        unresolved: list[Diagnostic] = []
        filled = fill(table, table.span, scope, unresolved)
        if filled is not table:
            # Where `$${` left a `${`, it is text, and no value of another type. The check before filling found some.
            is_escaped = not self.faults and not unresolved and _holds_brace(filled)
            structure = self.structure.without_references if is_escaped else self.structure
            # A value that was wrong before is still wrong, and its message shows the escape.
            known = {(one.code, one.span) for one in self.faults}
            again = structure.faults(filled, Place(table.span, table.span), schema)
            self.faults.extend(one for one in again if (one.code, one.span) not in known)
        self.faults.extend(unresolved)
        assert isinstance(filled, Table), "BUG: a table became something else"
        return filled

    def _models(self, scope: Scope) -> Iterator[ModelEntry]:
        """Every model, one per point of a matrix, with defaults and values filled in."""
        models, defaults = self._section("models"), self._section("defaults")
        for name, written in models.items():
            if not isinstance(written, Table):
                continue
            merged = overlay(defaults, written) if defaults else written
            idle = tuple(idle_keys(written, defaults, merged))
            for point in self._points(merged, scope):
                model = self._model(name, merged, models.key_span(name), Scope(scope.vars, point, budget=self.budget))
                yield structs.replace(model, idle=idle) if idle else model

    def _points(self, model: Table, scope: Scope) -> Iterator[Mapping[str, Any] | None]:
        """The points of a model's matrix; None, once, for a model without one."""
        matrix = model.get("matrix")
        if matrix is None:
            yield None
        elif isinstance(matrix, Table):
            filled = self._filled(matrix, _LISTS, scope)
            if all(isinstance(values, list) for values in filled.values()):
                yield from points(filled, model.key_span("matrix"), self.faults)

    def _model(self, name: str, written: Table, at: Span, scope: Scope) -> ModelEntry:
        if scope.matrix is not None:
            written = copy_table(written)
            written.weight -= weight_of(written.pop("matrix"))
        self.budget.spend(written.weight, at)
        filled = self._filled(written, block("ModelBlock"), scope)
        targets = filled.get("targets")
        self.budget.spend_variants(len(targets) if isinstance(targets, list) else 0, at)
        return ModelEntry(str(fill(name, at, scope, self.faults)), filled, at)


def _holds_brace(value: Any) -> bool:
    """Whether any text inside a value has `${`."""
    if isinstance(value, dict):
        return any(map(_holds_brace, value.values()))
    return any(map(_holds_brace, value)) if isinstance(value, list) else isinstance(value, str) and "${" in value


def _given(name: str, text: str, default: Any) -> Any:
    """The value of `-D NAME=TEXT`: a list in place of a list (`-D 'batches=[1, 8]'`), else a scalar."""
    return read_list(text, f"-D {name}") if isinstance(default, Array) else read_scalar(text)


def _undefined(defines: Mapping[str, str], variables: Table) -> Iterator[Diagnostic]:
    for name in defines:
        if name not in variables:
            hint = did_you_mean(name, variables) or "define it under `vars:` with a default"
            yield fault("OB004", f"`-D {name}=…` sets a variable that is not defined", hint=hint)
