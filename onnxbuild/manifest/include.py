"""`include:`: further files whose entries join those of the file that names them."""

from __future__ import annotations

import os

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, fault
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.yaml_reader import read_document
from onnxbuild.manifest.yaml_text import LARGEST_BYTES

# Sections whose entries join; every other key may stand in one file only.
_JOINED = ("vars", "datasets", "targets", "models", "defaults")


def read_with_includes(path: str, faults: list[Diagnostic]) -> tuple[Table, tuple[str, ...]]:
    """The joined document and the files that it was read from, the manifest first.

    Errors: DiagnosticError where the manifest itself cannot be read; faults of included files are collected.
    """
    root = _read(path, None, faults)
    files = [path]
    _join_includes(root, (path,), files, faults)
    return root, tuple(files)


def _read(path: str, at: Span | None, faults: list[Diagnostic]) -> Table:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise DiagnosticError(fault("OB016", f"`{path}` does not exist", span=at)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DiagnosticError(fault("OB016", f"`{path}` cannot be read: {reason.lower()}", span=at)) from None
    return read_document(data, path, faults)


def _join_includes(into: Table, chain: tuple[str, ...], files: list[str], faults: list[Diagnostic]) -> None:
    for name, at in _names(into, faults):
        path = os.path.normpath(os.path.join(os.path.dirname(chain[-1]), name))
        if _known(path, chain) is not None:
            cycle = " → ".join([*chain[chain.index(_known(path, chain) or path) :], path])
            hint = "a file must not lead back to itself"
            faults.append(fault("OB002", f"include cycle: {cycle}", span=at, hint=hint))
        elif _known(path, tuple(files)) is None:
            try:
                table = _read(path, at, faults)
            except DiagnosticError as error:
                faults.extend(error.diagnostics)
                continue
            files.append(path)
            _join_includes(table, (*chain, path), files, faults)
            _join(into, table, faults)


def _names(table: Table, faults: list[Diagnostic]) -> list[tuple[str, Span]]:
    written = table.get("include", [])
    if isinstance(written, str):
        return [(written, table.value_span("include"))]
    if not isinstance(written, Array):
        return []  # the structural check says what it should be
    found = [(name, at) for name, at in zip(written, written.items_at, strict=True) if isinstance(name, str)]
    for name, at in found:
        if "${" in name:
            faults.append(fault("OB025", "a reference is not allowed in `include:`", span=at))
    return [(name, at) for name, at in found if "${" not in name]


def _known(path: str, among: tuple[str, ...]) -> str | None:
    real = os.path.realpath(path)
    return next((one for one in among if os.path.realpath(one) == real), None)


def _join(into: Table, other: Table, faults: list[Diagnostic]) -> None:
    for key, value in other.items():
        if key in {"include", "onnxbuild"}:
            continue
        if key not in into:
            into.put(key, value, other.key_span(key), other.value_span(key))
        elif key in _JOINED and isinstance(value, Table) and isinstance(into[key], Table):
            _join_section(into, key, value, faults)
        else:
            faults.append(_duplicate(key, other.key_span(key), into.key_span(key)))


def _join_section(into: Table, key: str, value: Table, faults: list[Diagnostic]) -> None:
    section = into[key]
    for name, entry in value.items():
        if name in section:
            faults.append(_duplicate(name, value.key_span(name), section.key_span(name)))
        else:
            section.put(name, entry, value.key_span(name), value.value_span(name))


def _duplicate(key: str, at: Span, first: Span) -> Diagnostic:
    return fault("OB014", f"duplicate key `{key}`", span=at, hint=f"the first one stands at {first}")
