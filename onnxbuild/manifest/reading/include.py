"""`include:` names further files, whose entries are added to those of the file that includes them."""

from __future__ import annotations

import os

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, fault
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.reading.manifest_file import read_bytes
from onnxbuild.manifest.reading.yaml_reader import read_document

# Sections whose entries are joined; every other key may appear in one file only.
_JOINED = ("vars", "datasets", "targets", "models", "defaults")


def read_with_includes(path: str, faults: list[Diagnostic]) -> tuple[Table, tuple[str, ...]]:
    """The joined document and the files that it was read from, the manifest first.

    Errors: DiagnosticError if the manifest itself cannot be read; faults of included files are collected.
    """
    root = _read(path, None, faults)
    files = [path]
    _join_includes(root, (path,), files, faults)
    return root, tuple(files)


def _read(path: str, at: Span | None, faults: list[Diagnostic]) -> Table:
    return read_document(read_bytes(path, at), path, faults)


def _join_includes(into: Table, chain: tuple[str, ...], files: list[str], faults: list[Diagnostic]) -> None:
    for name, at in _names(into, faults):
        path = os.path.normpath(os.path.join(os.path.dirname(chain[-1]), name))
        above = _known(path, chain)
        if above is not None:
            cycle = " → ".join([*chain[chain.index(above) :], path])
            hint = "a file must not include itself, directly or through others"
            faults.append(fault("OB002", f"include cycle: {cycle}", span=at, hint=hint))
        elif _known(path, tuple(files)) is None:
            _join_file(into, path, at, chain, files, faults)


def _join_file(
    into: Table, path: str, at: Span, chain: tuple[str, ...], files: list[str], faults: list[Diagnostic]
) -> None:
    try:
        table = _read(path, at, faults)
    except DiagnosticError as error:
        faults.extend(error.diagnostics)
        return
    files.append(path)
    _join_includes(table, (*chain, path), files, faults)
    _join(into, table, faults)


def _names(table: Table, faults: list[Diagnostic]) -> list[tuple[str, Span]]:
    written = table.get("include", [])
    if isinstance(written, str):
        return [(written, table.value_span("include"))]
    if not isinstance(written, Array):
        return []  # the structural check reports it
    names = [(name, at) for name, at in zip(written, written.items_at, strict=True) if isinstance(name, str)]
    for name, at in names:
        if "${" in name:
            faults.append(fault("OB025", "a reference is not allowed in `include:`", span=at))
    return [(name, at) for name, at in names if "${" not in name]


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
    return fault("OB014", f"duplicate key `{key}`", span=at, hint=f"the first one is at {first}")
