"""`${vars.x}`, `${matrix.x}` and `${env.X}`: values put into a document. Nothing is evaluated."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from onnxbuild import secrets
from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.document import Array, Table, copy_table, describe
from onnxbuild.manifest.reading.budget import Budget, weight_of
from onnxbuild.manifest.secrets_in_store import Secrets

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")


class Scope(Struct, frozen=True):
    """What references can name. `secrets` is None where the environment is not allowed; `budget` bounds the result."""

    vars: Mapping[str, Any]
    matrix: Mapping[str, Any] | None = None
    secrets: Secrets | None = None
    budget: Budget = field(default_factory=Budget)


class _Unresolved(Exception):  # noqa: N818 - carries a fault to the collector
    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


def fill(value: Any, at: Span, scope: Scope, faults: list[Diagnostic]) -> Any:
    """The value with every reference replaced. A value without references is returned itself, not as a copy.

    A scalar that consists of one reference gets the type of what it names; `$${` stands for `${`. A reference to
    something undefined becomes a fault and stays in place.
    """
    if isinstance(value, str):
        return _fill_text(value, at, scope, faults) if "${" in value else value
    if isinstance(value, Table):
        return _fill_table(value, scope, faults)
    if isinstance(value, Array):
        return _fill_array(value, scope, faults)
    return value


def _fill_table(table: Table, scope: Scope, faults: list[Diagnostic]) -> Table:
    changed: Table | None = None
    for key, value in table.items():
        new = fill(value, table.value_span(key), scope, faults)
        if new is not value:
            changed = changed or copy_table(table)
            changed[key] = new
            changed.weight += weight_of(new) - weight_of(value)
    return table if changed is None else changed


def _fill_array(array: Array, scope: Scope, faults: list[Diagnostic]) -> Array:
    new = [fill(item, at, scope, faults) for item, at in zip(array, array.items_at, strict=True)]
    if all(one is other for one, other in zip(new, array, strict=True)):
        return array
    copy = Array(array.span)
    copy.extend(new)
    copy.items_at = array.items_at
    copy.weight = 1 + sum(map(weight_of, new))
    return copy


def _fill_text(text: str, at: Span, scope: Scope, faults: list[Diagnostic]) -> Any:
    try:
        whole = _REFERENCE.fullmatch(text)
        if whole is not None and whole.group() != "$${":
            return _look_up(whole, at, scope)
        return _REFERENCE.sub(lambda reference: _as_text(reference, at, scope), text)
    except _Unresolved as unresolved:
        faults.append(unresolved.diagnostic)
        return text


def _as_text(reference: re.Match[str], at: Span, scope: Scope) -> str:
    if reference.group() == "$${":
        return "${"
    value = _look_up(reference, at, scope)
    if value is None or isinstance(value, (dict, list)):
        message = f"`{reference.group()}` is {describe(value)}, which cannot be part of a string"
        raise _Unresolved(fault("OB011", message, span=_narrow(at, reference.group())))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _look_up(reference: re.Match[str], at: Span, scope: Scope) -> Any:
    span = _narrow(at, reference.group())
    if not reference.group(2):
        raise _Unresolved(fault("OB015", "`${` without its `}`", span=span, hint="write `$${` for the characters `${`"))
    value = _named(reference, span, scope)
    scope.budget.spend(weight_of(value), span)
    return value


def _named(reference: re.Match[str], span: Span, scope: Scope) -> Any:
    space, _, name = reference.group(1).strip().partition(".")
    if space == "env":
        return _secret(name, span, scope)
    tables = {"vars": scope.vars, "matrix": scope.matrix}
    if space not in tables or not name:
        hint = "write `${vars.name}`, `${matrix.name}` or, under `store:`, `${env.NAME}`"
        raise _Unresolved(fault("OB004", f"`{reference.group()}` names nothing", span=span, hint=hint))
    table = tables[space]
    if table is None:
        hint = "`matrix:` belongs to a model, and only that model can use its values"
        raise _Unresolved(fault("OB004", f"`{reference.group()}` outside a model with a matrix", span=span, hint=hint))
    value: Any = table
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise _Unresolved(_undefined(reference.group(), name, space, table, span))
        value = value[part]
    return value


def _undefined(text: str, name: str, space: str, table: Mapping[str, Any], span: Span) -> Diagnostic:
    hint = did_you_mean(name, table)
    if hint is not None:
        hint = hint.replace("`", f"`{space}.", 1)
    elif table:
        hint = f"`{space}:` has {', '.join(f'`{key}`' for key in table)}"
    else:
        hint = f"define it under `{space}:`"
    return fault("OB004", f"`{text}` is not defined", span=span, hint=hint)


def _secret(name: str, span: Span, scope: Scope) -> str:
    if scope.secrets is None:
        message = f"`${{env.{name}}}` is not allowed here"
        hint = "the environment is for secrets under `store:` and `publish:`; for a plain value use `vars:` and `-D`"
        raise _Unresolved(fault("OB025", message, span=span, hint=hint))
    value = scope.secrets.value(name, span)
    if isinstance(value, Diagnostic):
        raise _Unresolved(value)
    secrets.register(value)
    return value


def _narrow(at: Span, text: str) -> Span:
    """The place of a reference inside its scalar, if the scalar is written on one line without escapes."""
    line = at.source.line(at.line)
    column = line.find(text, at.column - 1)
    return Span(at.source, at.line, column + 1, len(text)) if 0 <= column < at.column - 1 + at.length else at
